import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Inject, Injectable } from '@nestjs/common';
import { newId } from '@warmlane/contracts';
import { type LaneHolding, MemoryBudget } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { z } from 'zod';
import { LOGGER } from '../logger.js';
import { WORKER_CONFIG, type WorkerConfig } from '../worker.config.js';
import { type Lane, optionsKeyOf } from './lane.js';

/** Share of the memory that is free at start which lanes may take. */
const DEFAULT_SHARE = 0.8;
/** On the CPU unknown lanes are measured beforehand only while less than this share of the budget is left. */
const ROOMY_SHARE = 0.5;

const bytesSchema = z.number().int().min(0);
const holdingSchema = z.object({
  bytes: bytesSchema,
  weights: z.object({ key: z.string(), bytes: bytesSchema }).nullable(),
});
const fileSchema = z.record(z.string(), holdingSchema);

/** The device's budget, and what lanes were measured to need, also by earlier lives of the worker. */
@Injectable()
export class LaneMemory {
  private ledger = new MemoryBudget(0);
  /** By what a lane is made from: the same lane made again needs the same. */
  private measured = new Map<string, LaneHolding>();
  private file: string | null = null;

  constructor(
    @Inject(WORKER_CONFIG) private readonly config: WorkerConfig,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  get budget(): MemoryBudget {
    return this.ledger;
  }

  /**
   * @param freeBytes free on the device when its first runtime said hello
   * @param environment digest of the environment: in another one lanes need other memory
   */
  async begin(freeBytes: number, environment: string): Promise<void> {
    this.ledger = new MemoryBudget(this.config.memoryBytes ?? Math.floor(DEFAULT_SHARE * freeBytes));
    this.file = join(this.config.data, 'lane-memory', `${environment}.json`);
    this.measured = await readMeasured(this.file);
  }

  known(lane: Lane): LaneHolding | null {
    return this.measured.get(keyOf(lane)) ?? null;
  }

  /** Where models are prepared for lanes that share their weights. */
  get preparedModels(): string {
    return join(this.config.data, 'weights');
  }

  /** Where the lane's model is prepared to share its weights; undefined for a lane that must have its own. */
  weightsFolder(lane: Lane): string | undefined {
    return lane.ownWeights === null ? this.preparedModels : undefined;
  }

  /** Keeps it, on disk too; a disk that refuses costs only the measurement after the next start. */
  async learn(lane: Lane, holding: LaneHolding): Promise<void> {
    const key = keyOf(lane);
    if (JSON.stringify(this.measured.get(key)) === JSON.stringify(holding)) return;
    this.measured.set(key, holding);
    if (this.file === null) return;
    try {
      await writeMeasured(this.file, this.measured);
    } catch (thrown) {
      this.logger.warn({ err: thrown }, 'the memory of a lane could not be noted');
    }
  }

  /**
   * Whether an unknown lane must be measured in a disposable process first. On a GPU always: what it takes too much, its
   * neighbours lack. On the CPU, where that costs the whole first run a second time and memory is refused cleanly, only
   * while the budget is not roomy.
   */
  mustMeasure(lane: Lane): boolean {
    if (this.known(lane) !== null) return false;
    if (lane.spec.provider === 'cuda') return true;
    const { limit, used, lost } = this.ledger;
    return limit - used - lost < ROOMY_SHARE * limit;
  }
}

function keyOf(lane: Lane): string {
  const weights = lane.ownWeights === null ? 'shared' : 'own';
  const text = [lane.spec.held.files.digest, lane.shapeKey, optionsKeyOf(lane.spec), weights].join('\n');
  return createHash('sha256').update(text).digest('hex');
}

/** A file that is not there, or not of this form, knows nothing. */
async function readMeasured(file: string): Promise<Map<string, LaneHolding>> {
  try {
    return new Map(Object.entries(fileSchema.parse(JSON.parse(await readFile(file, 'utf8')))));
  } catch {
    return new Map();
  }
}

/** Workers of one machine share the folder: what another noted is kept, and no reader sees half a file. */
async function writeMeasured(file: string, measured: Map<string, LaneHolding>): Promise<void> {
  for (const [key, held] of await readMeasured(file)) if (!measured.has(key)) measured.set(key, held);
  const aside = `${file}.${newId()}`;
  await mkdir(join(file, '..'), { recursive: true });
  try {
    await writeFile(aside, JSON.stringify(Object.fromEntries(measured)));
    await rename(aside, file);
  } catch (thrown) {
    // Half a note on a full disk takes the room that others need.
    await rm(aside, { force: true }).catch(() => undefined);
    throw thrown;
  }
}
