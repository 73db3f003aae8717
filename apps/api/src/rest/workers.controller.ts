import { Controller, Get } from '@nestjs/common';
import { WarmlaneError, type WorkerDoc } from '@warmlane/contracts';
import { FleetService } from '../fleet/fleet.service.js';

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

  @Get('tunings')
  tunings(): never {
    throw new WarmlaneError(
      'not-supported',
      'tunings are not supported',
      'Set provider options in warmlane.yaml or in the warm-up.',
    );
  }
}
