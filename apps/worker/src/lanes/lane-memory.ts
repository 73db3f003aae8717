import { Inject, Injectable } from '@nestjs/common';
import { MemoryBudget } from '@warmlane/lanes';
import { WORKER_CONFIG, type WorkerConfig } from '../worker.config.js';
import { type Lane, optionsKeyOf } from './lane.js';

/** Share of the memory that is free at start which lanes may take. */
const DEFAULT_SHARE = 0.8;
/** On the CPU unknown lanes are measured beforehand only while less than this share of the budget is left. */
const ROOMY_SHARE = 0.5;

/** The device's budget, and what lanes were measured to need. */
@Injectable()
export class LaneMemory {
  private ledger = new MemoryBudget(0);
  /** Bytes by what a lane is made from: the same lane made again needs the same. */
  private readonly measured = new Map<string, number>();

  constructor(@Inject(WORKER_CONFIG) private readonly config: WorkerConfig) {}

  get budget(): MemoryBudget {
    return this.ledger;
  }

  /** @param freeBytes free on the device when its first runtime said hello */
  begin(freeBytes: number): void {
    this.ledger = new MemoryBudget(this.config.memoryBytes ?? Math.floor(DEFAULT_SHARE * freeBytes));
  }

  known(lane: Lane): number | null {
    return this.measured.get(keyOf(lane)) ?? null;
  }

  learn(lane: Lane, bytes: number): void {
    this.measured.set(keyOf(lane), bytes);
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
  return [lane.spec.held.files.digest, lane.shapeKey, optionsKeyOf(lane.spec)].join('\n');
}
