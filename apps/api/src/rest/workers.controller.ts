import { Controller, Get } from '@nestjs/common';
import type { WorkerDoc } from '@warmlane/contracts';
import { FleetService } from '../fleet/fleet.service.js';
import { latestTunings } from './tuning-views.js';

function workerView({ id, host, device, provider, epoch, state, since, reason, memory, lanes }: WorkerDoc) {
  return { id, host, device, provider, epoch, state, since, reason, memory, lanes };
}

/** The fleet's workers, and their tunings. */
@Controller('v1')
export class WorkersController {
  constructor(private readonly fleet: FleetService) {}

  @Get('workers')
  async workers() {
    return { workers: (await this.fleet.workersNow()).map(workerView) };
  }

  /** What was found out about options: per environment, version and shape the latest. */
  @Get('tunings')
  async tunings() {
    return { tunings: latestTunings(await this.fleet.tunings()) };
  }
}
