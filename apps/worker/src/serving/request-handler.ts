import { type AnswerHead, type ClassJob, classJobSchema, WarmlaneError } from '@warmlane/contracts';
import type { BlobStore, RedisClock, ReplyStore } from '@warmlane/redis';
import type { SharedMemory } from '@warmlane/shm';
import { type Job, UnrecoverableError } from 'bullmq';
import type { Logger } from 'pino';
import type { Executor } from './executor.js';
import { inputBlobs, loadInputs } from './inputs.js';
import { storeOutputs } from './outputs.js';
import { ANSWER_TTL_MS } from './serving.settings.js';
import { deadlineExceeded } from './work.js';

interface Answer {
  head: AnswerHead;
  /** One entry per output: its bytes, or null where it is a blob or a slot. */
  inline: (Uint8Array | null)[];
}

/** From a job to its answer. The job itself returns nothing: the answer is written before it completes, and only once. */
export class RequestHandler {
  constructor(
    private readonly deps: {
      worker: string;
      clock: RedisClock;
      replies: ReplyStore;
      blobs: BlobStore;
      memory: SharedMemory | null;
      executor: Executor;
      log: Logger;
    },
  ) {}

  /** Never rejects for what a request may bring along; a job that is none of ours fails unanswered. */
  async handle(job: Job<ClassJob, void, string>, started: (waitedMs: number) => void): Promise<void> {
    const arrivedAt = this.deps.clock.now();
    const parsed = classJobSchema.safeParse(job.data);
    if (!parsed.success) {
      started(0);
      throw new UnrecoverableError(JSON.stringify(notOurs(job, parsed.error.message).toBody()));
    }
    const request = parsed.data;
    const queueMs = Math.max(0, arrivedAt - request.enqueuedAt);
    started(queueMs);
    const again = request.repeat || job.attemptsStarted > 1;
    if (!(again && (await this.deps.replies.exists(request.request)))) {
      const { head, inline } = await this.#answer(request, arrivedAt, queueMs, again);
      const answeringAt = performance.now();
      await this.deps.replies.answer(request.request, request.producer, head, inline, ANSWER_TTL_MS);
      this.deps.executor.answered(performance.now() - answeringAt);
    }
    this.#unlink(request);
  }

  async #answer(request: ClassJob, arrivedAt: number, queueMs: number, again: boolean): Promise<Answer> {
    const { blobs, memory } = this.deps;
    let release = (): void => undefined;
    try {
      if (request.deadlineAt <= arrivedAt) throw deadlineExceeded(request);
      const loadingAt = performance.now();
      const loaded = await loadInputs(request, blobs, memory);
      ({ release } = loaded);
      const inputs = loaded.tensors;
      const loadMs = performance.now() - loadingAt;
      const { lane, items, run, startedAt } = await this.deps.executor.execute(request, inputs, arrivedAt, again);
      const timing = {
        queueMs,
        gatherMs: Math.max(0, startedAt - arrivedAt - loadMs),
        copyMs: loadMs + run.copyMs,
        computeMs: run.computeMs,
      };
      const outputs = await storeOutputs(request, run.outputs, blobs, memory);
      return {
        head: {
          ok: true,
          lane,
          shapeKey: request.shapeKey,
          items,
          worker: this.deps.worker,
          ...(outputs.proof === null ? {} : { proof: outputs.proof }),
          timing,
          outputs: outputs.described,
        },
        inline: outputs.inline,
      };
    } catch (thrown) {
      const error = WarmlaneError.from(thrown);
      if (error.code === 'internal') this.deps.log.error({ err: thrown, request: request.request }, 'a request failed');
      return { head: { ok: false, error: error.toBody() }, inline: [] };
    } finally {
      release();
    }
  }

  /** Only now that the answer is written: a run that is tried again needs the inputs. */
  #unlink(request: ClassJob): void {
    for (const blob of inputBlobs(request)) {
      this.deps.blobs.unlink(blob).catch((error: unknown) => {
        this.deps.log.warn({ err: error, blob: blob.id }, 'an input blob was not deleted; it expires by itself');
      });
    }
  }
}

function notOurs(job: Job, why: string): WarmlaneError {
  return new WarmlaneError(
    'bad-request',
    `job ${job.id ?? ''} of queue ${job.queueName} is not of this version's form: ${why}`,
    'Produce through the client library or the queue `inference`.',
  );
}
