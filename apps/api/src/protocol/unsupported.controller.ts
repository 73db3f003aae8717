import { All, Controller, Get, Param, Post, Res } from '@nestjs/common';
import { ApiExcludeController } from '@nestjs/swagger';
import { WarmlaneError } from '@warmlane/contracts';
import type { FastifyReply } from 'fastify';
import { sendJson } from '../http/send-json.js';

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

  /** No region is ever registered, so a client that looks for some, or clears what it may have left, gets its answer. */
  @Get(['systemsharedmemory/status', 'cudasharedmemory/status'])
  regions(@Res() reply: FastifyReply): void {
    sendJson(reply, []);
  }

  @Get('systemsharedmemory/region/:region/status')
  systemRegion(@Param('region') region: string): never {
    throw noRegion('system', region);
  }

  @Get('cudasharedmemory/region/:region/status')
  cudaRegion(@Param('region') region: string): never {
    throw noRegion('cuda', region);
  }

  /** As in Triton, where a region that is not there is no error. */
  @Post([
    'systemsharedmemory/unregister',
    'systemsharedmemory/region/:region/unregister',
    'cudasharedmemory/unregister',
    'cudasharedmemory/region/:region/unregister',
  ])
  unregister(@Res() reply: FastifyReply): void {
    void reply.code(200).send();
  }

  @Post(['systemsharedmemory/region/:region/register', 'cudasharedmemory/region/:region/register'])
  register(): never {
    throw new WarmlaneError('not-supported', 'shared memory is not supported', 'Send and receive tensors in the body.');
  }
}

/** In Triton's words. */
function noRegion(kind: 'system' | 'cuda', region: string): WarmlaneError {
  return new WarmlaneError(
    'not-found',
    `Unable to find ${kind} shared memory region: '${region}'`,
    'Shared memory is not supported: send and receive tensors in the body.',
  );
}
