import { Injectable } from '@nestjs/common';
import type { ModelDoc } from '@warmlane/contracts';
import { type ModelStats, StatsStore } from '@warmlane/redis';
import { RedisGate } from '../fleet/redis.gate.js';

/** Statistics in the form of the protocol's extension. */
@Injectable()
export class StatsService {
  constructor(
    private readonly gate: RedisGate,
    private readonly stats: StatsStore,
  ) {}

  async of(docs: readonly ModelDoc[]) {
    const all = await this.gate.use(() => Promise.all(docs.map((doc) => this.stats.get(doc.name, doc.version))));
    return { model_stats: docs.flatMap((doc, at) => statsView(doc, all[at])) };
  }
}

/** Nothing is cached here, so the cache counts of the extension stay 0. */
const NEVER = { count: 0, ns: 0 };

function statsView(doc: ModelDoc, stats: ModelStats | undefined) {
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
      memory_usage: [],
    },
  ];
}
