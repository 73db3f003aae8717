import { Injectable } from '@nestjs/common';
import type { LaneDoc, ModelDoc, WorkerDoc } from '@warmlane/contracts';
import { type ModelStats, StatsStore } from '@warmlane/redis';
import { FleetService } from '../fleet/fleet.service.js';
import { RedisGate } from '../fleet/redis.gate.js';

/** Statistics in the form of the protocol's extension. */
@Injectable()
export class StatsService {
  constructor(
    private readonly gate: RedisGate,
    private readonly stats: StatsStore,
    private readonly fleet: FleetService,
  ) {}

  async of(docs: readonly ModelDoc[]) {
    const [all, lanes, workers] = await Promise.all([
      this.gate.use(() => Promise.all(docs.map((doc) => this.stats.get(doc.name, doc.version)))),
      this.fleet.lanesOf({}),
      this.fleet.workersNow(),
    ]);
    return {
      model_stats: docs.flatMap((doc, at) => {
        const own = lanes.filter((lane) => lane.model === doc.name && lane.version === doc.version);
        return statsView(doc, all[at], memoryUsage(own, workers));
      }),
    };
  }
}

/** Bytes of the warm lanes, one entry per device that holds some. */
function memoryUsage(lanes: readonly LaneDoc[], workers: readonly WorkerDoc[]) {
  return workers.flatMap((worker, id) => {
    const held = lanes.filter(
      (lane) => lane.worker === worker.id && (lane.state === 'READY' || lane.state === 'SUSPECT'),
    );
    if (held.length === 0 || worker.state === 'gone') return [];
    const bytes = held.reduce((sum, lane) => sum + (lane.record?.memoryBytes ?? 0), 0);
    return [{ type: worker.provider === 'cuda' ? 'GPU' : 'CPU', id, byte_size: bytes }];
  });
}

/** Nothing is cached here, so the cache counts of the extension stay 0. */
const NEVER = { count: 0, ns: 0 };

function statsView(doc: ModelDoc, stats: ModelStats | undefined, memory: ReturnType<typeof memoryUsage>) {
  if (stats === undefined) return [];
  return [
    {
      name: doc.name,
      version: doc.version,
      last_inference: stats.lastInference,
      inference_count: stats.inferenceCount,
      execution_count: stats.executionCount,
      inference_stats: {
        success: stats.success,
        fail: stats.fail,
        queue: stats.queue,
        compute_input: stats.computeInput,
        compute_infer: stats.computeInfer,
        compute_output: stats.computeOutput,
        cache_hit: NEVER,
        cache_miss: NEVER,
      },
      batch_stats: stats.batches.map((batch) => ({
        batch_size: batch.batchSize,
        compute_input: batch.computeInput,
        compute_infer: batch.computeInfer,
        compute_output: batch.computeOutput,
      })),
      memory_usage: memory,
    },
  ];
}
