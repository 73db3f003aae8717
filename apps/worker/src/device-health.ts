import type { Logger } from '@warmlane/observability';
import type { ProcessDown } from './ports.js';
import { DeathLedger } from './processes/index.js';

/** An unhealthy device serves from the fallback for so long, then the process ends so that its supervisor sees it. */
const UNHEALTHY_MS = 5 * 60_000;

export interface DeviceHealthOptions {
  logger: Logger;
  /** Shows what the worker is: serving, degraded while its runtime is away, device-unhealthy for good. */
  show: (state: 'serving' | 'degraded' | 'device-unhealthy', reason: string) => void;
  /** Ends the process with an exit code. */
  end: (code: number) => void;
  /** How long the fallback serves for a device that is given up, ms; 5 minutes by default. */
  unhealthyMs?: number;
}

/** What the lives and deaths of the runtime say about its device. */
export class DeviceHealth {
  private readonly deaths = new DeathLedger();
  private started = false;

  constructor(private readonly options: DeviceHealthOptions) {}

  /** The worker has begun to serve: from now on a runtime that is up is shown. */
  start(): void {
    this.started = true;
    this.up();
  }

  up(): void {
    if (this.started && this.deaths.unhealthySinceMs === null) this.options.show('serving', '');
  }

  down(down: ProcessDown): void {
    const { logger, show, end, unhealthyMs = UNHEALTHY_MS } = this.options;
    const before = this.deaths.unhealthySinceMs;
    if (!this.deaths.record(down, performance.now())) {
      show('degraded', `the runtime ended: ${down.reason}`);
      return;
    }
    show('device-unhealthy', `the runtime ended five times within 60 s, last: ${down.reason}`);
    if (before !== null) return;
    logger.fatal(
      { down },
      `device-unhealthy: the fallback serves; this process ends in ${unhealthyMs / 60_000} minutes`,
    );
    setTimeout(() => end(1), unhealthyMs).unref();
  }

  /** The runtime does not go away after SIGKILL. */
  lost(): void {
    const reason = 'the runtime does not go away after SIGKILL';
    this.options.logger.fatal(`${reason}: the device is lost`);
    this.options.show('device-unhealthy', reason);
    this.options.end(1);
  }
}
