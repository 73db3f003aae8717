import { All, Controller } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { WarmlaneError } from '@warmlane/contracts';

/** Parts of Triton's API that a client may probe for; each says clearly that it is not here. */
@ApiExcludeController()
@Controller('v2')
export class UnsupportedController {
  @All(['trace/setting', 'models/:model/trace/setting'])
  trace(): never {
    throw new WarmlaneError(
      'not-supported',
      'trace settings are not supported',
      'Use the timings of server-timing and /metrics.',
    );
  }

  @All('logging')
  logging(): never {
    throw new WarmlaneError(
      'not-supported',
      'log settings are not supported',
      'Set WARMLANE_LOG_LEVEL and start again.',
    );
  }

  @All([
    'systemsharedmemory/status',
    'systemsharedmemory/unregister',
    'systemsharedmemory/region/:region/status',
    'systemsharedmemory/region/:region/register',
    'systemsharedmemory/region/:region/unregister',
    'cudasharedmemory/status',
    'cudasharedmemory/unregister',
    'cudasharedmemory/region/:region/status',
    'cudasharedmemory/region/:region/register',
    'cudasharedmemory/region/:region/unregister',
  ])
  sharedMemory(): never {
    throw new WarmlaneError('not-supported', 'shared memory is not supported', 'Send and receive tensors in the body.');
  }
}
