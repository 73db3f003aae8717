import { Injectable } from '@nestjs/common';
import { Producer, type ServableModel } from '@warmlane/queues';
import { FirstLoad } from './first-load.js';
import { RedisGate } from './redis.gate.js';

/** Metadata of the versions that serve, from the producer's cache: no look-up per request. */
@Injectable()
export class ModelDirectory {
  constructor(
    private readonly producer: Producer,
    private readonly gate: RedisGate,
    private readonly firstLoad: FirstLoad,
  ) {}

  /** The version that serves, null for the default one. Rejects `unknown-model`, `unknown-version`, `not-ready`. */
  servable(name: string, version: string | null): Promise<ServableModel> {
    return this.firstLoad.during(() => this.gate.use(() => this.producer.resolve(name, version)));
  }
}
