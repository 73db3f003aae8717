import { Injectable } from '@nestjs/common';
import { type NamedTensor, WarmlaneError } from '@warmlane/contracts';
import { successOf } from '@warmlane/queues';
import { type Answer, BlobStore } from '@warmlane/redis';
import { RedisGate } from '../fleet/redis.gate.js';

/** Reads the outputs of an answer that is kept: blobs stay, they expire with it. */
@Injectable()
export class AnswerBlobs {
  constructor(
    private readonly blobs: BlobStore,
    private readonly gate: RedisGate,
  ) {}

  /** Throws the error of a failed answer, `tensor-gone` where an output is kept no longer. */
  read(answer: Answer): Promise<NamedTensor[]> {
    return Promise.all(
      successOf(answer).outputs.map(async ({ name, dtype, dims, blob }, at) => {
        const data = blob === null ? answer.inline[at] : await this.gate.use(() => this.blobs.get(blob));
        if (data === null || data === undefined) {
          throw new WarmlaneError('tensor-gone', `output '${name}' is kept no longer`, 'Send the request again.');
        }
        return { name, dtype, dims, data };
      }),
    );
  }
}
