import {
  type ClassJob,
  checkOutputs,
  type NamedTensor,
  newId,
  type ServedClass,
  type SlotRef,
  WarmlaneError,
} from '@warmlane/contracts';
import { type Answer, coldQueueName, type RedisClock, type ReplyReader } from '@warmlane/redis';
import type { QueueCache } from '../queue-cache.js';
import { BLOB_MARGIN_MS } from '../settings.js';
import type { ClassLimits } from './class-limits.js';
import type { InputBlobs } from './input-blobs.js';
import { bytesOf, fitInline, type InputTensor, inlineInputs, type StoredInputs, storeInputs } from './job-tensors.js';
import type { ModelCache, ServableModel } from './model-cache.js';
import type { Patience } from './patience.js';
import type { Pending, PendingRequests } from './pending.js';
import { queuePriority } from './queue-priority.js';
import type { RouteChoice } from './route-choice.js';
import type { Route } from './route-table.js';
import { type SharedTensors, SLOT_MARGIN_MS, type TensorWay } from './shared-tensors.js';
import { checkSubmission, repeatOf, type Submission } from './submission.js';
import type { WaitForecast } from './wait-forecast.js';

const JOB_NAME = 'infer';

export interface SubmitterDeps {
  /** This producer's id: its reply stream is told of answers. */
  producer: string;
  clock: RedisClock;
  patience: Patience;
  models: ModelCache;
  routes: RouteChoice;
  queues: QueueCache<ClassJob>;
  limits: ClassLimits;
  forecast: WaitForecast;
  blobs: InputBlobs;
  replies: ReplyReader;
  pending: PendingRequests;
  /** Null where this process has no shared memory. */
  shared: SharedTensors | null;
  onTensor: (way: TensorWay) => void;
  /** Called for each accepted request. */
  onAccepted: () => void;
  /** Called where a request was given up by its sender whose job a worker has already. */
  onAbandoned: (request: string) => void;
}

/** A raw answer and what the request was resolved to. */
export interface Submitted {
  request: string;
  model: string;
  version: string;
  shapeKey: string;
  answer: Answer;
}

interface Sent extends Submitted {
  /** Inputs went through shared memory. */
  throughSlots: boolean;
  deadlineAt: number;
}

/** A checked request and where it goes. */
interface Routed {
  model: ServableModel;
  key: string;
  inputs: InputTensor[];
  outputs: string[];
  route: Route;
  served: ServedClass | null;
  /** Both Redis TIME in ms. */
  deadlineAt: number;
  now: number;
}

/** Takes one request from check to answer: validate, route, store the inputs, add the job, wait. */
export class Submitter {
  constructor(private readonly deps: SubmitterDeps) {}

  /**
   * Rejects with what the worker answered, or `bad-request`, `unknown-model`, `unknown-version`, `not-ready`,
   * `overloaded`, `redis-away` (not accepted), `deadline-exceeded`, `canceled`.
   */
  async submit(submission: Submission): Promise<Submitted> {
    const { clock, shared } = this.deps;
    const sent = await this.#submit(submission);
    const { head } = sent.answer;
    shared?.answered(head);
    if (!sent.throughSlots || head.ok || head.error.code !== 'tensor-gone') return sent;
    // Whoever took the job cannot read this process's memory, and has not run it.
    shared?.distrust();
    return this.#submit({ ...submission, sharesMemory: false, deadlineMs: sent.deadlineAt - clock.now() });
  }

  async #submit(submission: Submission): Promise<Sent> {
    const { patience, models, routes, clock } = this.deps;
    patience.refuseIfAway();
    refuseIfAborted(submission.signal);
    const found = models.get(submission.model, submission.version);
    const model = found instanceof Promise ? await patience.within(found) : found;
    const { key, inputs } = checkSubmission(model.metadata, submission.inputs);
    const outputs = checkOutputs(model.metadata, submission.outputs);
    const { resume } = submission;
    const looked =
      resume === null || resume.queue === null
        ? routes.choose(model, key, inputs)
        : routes.pinned(model, key, inputs, resume.queue);
    const { route, served } = looked instanceof Promise ? await patience.within(looked) : looked;
    const now = clock.now();
    const deadlineAt = resume?.deadlineAt ?? now + submission.deadlineMs;
    if (deadlineAt <= now) throw deadlineExceeded();
    // What was accepted before is not refused now.
    const admitted = resume?.again === true ? null : this.#admit(route, submission.priority, inputs, deadlineAt - now);
    try {
      if (resume !== null) await patience.within(resume.onRouted(route.queue, deadlineAt));
      const sent = await this.#send(submission, { model, key, inputs, outputs, route, served, deadlineAt, now });
      admitted?.answered(sent.answer);
      return sent;
    } catch (error) {
      admitted?.ended(error instanceof WarmlaneError && error.code === 'deadline-exceeded');
      throw error;
    }
  }

  /** Throws `overloaded`. Of what it returns one is to be called. */
  #admit(route: Route, priority: number, inputs: readonly InputTensor[], leftMs: number) {
    const { limits, forecast, queues } = this.deps;
    const ticket = forecast.admit(route.queue, priority, leftMs);
    let release: () => void;
    try {
      release = limits.admit(queues.get(route.queue), bytesOf(inputs));
    } catch (error) {
      ticket.ended(false);
      throw error;
    }
    return {
      answered({ head }: Answer): void {
        release();
        if (head.ok) ticket.answered();
        else ticket.ended(head.error.code === 'deadline-exceeded');
      },
      ended(late: boolean): void {
        release();
        ticket.ended(late);
      },
    };
  }

  async #send(submission: Submission, routed: Routed): Promise<Sent> {
    const { model, key, inputs, outputs, route, served, deadlineAt, now } = routed;
    const { resume } = submission;
    const leftMs = deadlineAt - now;
    const shared = submission.sharesMemory === true ? this.deps.shared : null;
    const stored = await this.#store(inputs, leftMs, shared?.reaches(route) === true ? shared : null);
    const request = resume?.request ?? newId();
    let left = false;
    try {
      const data: ClassJob = {
        v: 1,
        request,
        producer: this.deps.producer,
        model: model.name,
        version: model.version,
        shapeKey: key,
        ...(served !== null && served.shapeClass !== key ? served : {}),
        inputs: stored.tensors,
        outputs,
        deadlineAt,
        enqueuedAt: now,
        priority: submission.priority,
        // A request that was begun before may have been answered: then the worker looks first, as for a repeat.
        repeat: resume?.again === true,
        answerBlobTtlMs: submission.answerBlobTtlMs,
        ...(typeof shared?.owner === 'string' ? { sharesMemory: shared.owner } : {}),
      };
      const answer = await this.#run(data, route, stored.writing, leftMs, submission);
      shared?.free(stored.slots);
      const throughSlots = stored.slots.length > 0;
      return { request, model: model.name, version: model.version, shapeKey: key, answer, throughSlots, deadlineAt };
    } catch (error) {
      // A process that closes leaves its jobs to the workers, and the jobs need their inputs: those expire by themselves.
      left = error instanceof WarmlaneError && error.code === 'not-ready';
      if (shared !== null && !left) this.#giveBackLater(request, shared, stored.slots, leftMs);
      throw error;
    } finally {
      if (stored.written.length > 0 && !left) this.deps.blobs.unlink(stored.written);
    }
  }

  /**
   * A request ended without its answer, and its job may still read the inputs: their slots are free when it was taken out
   * or is answered after all, else by their time. Requests that are shed would keep them from those that are not.
   */
  #giveBackLater(request: string, shared: SharedTensors, slots: readonly SlotRef[], leftMs: number): void {
    this.deps.replies.watchLate(request, leftMs + SLOT_MARGIN_MS, (answer) => {
      shared.free(slots);
      if (answer !== null) shared.discard(answer.head);
    });
  }

  /** Adds the request's one repeat to the model's cold queue. */
  async repeat(pending: Pending): Promise<void> {
    const { model, version } = pending.data;
    const { jobId, data } = repeatOf(pending.data);
    const priority = queuePriority(data);
    await this.deps.queues.get(coldQueueName(model, version)).add(JOB_NAME, data, { jobId, priority });
  }

  /** Adds again, under the same id, a job that Redis lost with the last second of its file. */
  async addAgain(pending: Pending): Promise<void> {
    const { queue, request, data } = pending;
    await queue.add(JOB_NAME, data, { jobId: request, priority: queuePriority(data) });
  }

  async #store(inputs: readonly InputTensor[], leftMs: number, shared: SharedTensors | null): Promise<StoredInputs> {
    if (fitInline(inputs)) return { tensors: inlineInputs(inputs), written: [], writing: null, slots: [] };
    const { patience, blobs, onTensor } = this.deps;
    const toSlot = async (input: NamedTensor): Promise<SlotRef | null> => {
      // The worker itself reads strings, to see whether they are any.
      const slot = shared === null || input.dtype === 'string' ? null : await shared.put(input.data, leftMs);
      onTensor({ way: slot === null ? 'redis' : 'memory', direction: 'in' });
      return slot;
    };
    return patience.within(storeInputs(inputs, { blobs, blobTtlMs: leftMs + BLOB_MARGIN_MS, toSlot }));
  }

  async #run(
    data: ClassJob,
    route: Route,
    writing: Promise<unknown> | null,
    leftMs: number,
    { signal, onAccepted }: Submission,
  ): Promise<Answer> {
    const { pending: requests, queues, replies } = this.deps;
    const joined = requests.get(data.request);
    if (joined !== undefined) {
      writing?.catch(() => undefined);
      return joined.answer;
    }
    const pending = requests.open(data.request, queues.get(route.queue), data, route);
    const timer = setTimeout(() => this.#end(pending, deadlineExceeded()), leftMs);
    const onAbort = (): void => this.#end(pending, canceled());
    signal?.addEventListener('abort', onAbort, { once: true });
    replies.expect(data.request, (answer) => requests.settle(data.request, answer));
    this.#add(pending, writing, onAccepted);
    try {
      return await pending.answer;
    } finally {
      replies.forget(data.request);
      clearTimeout(timer);
      signal?.removeEventListener('abort', onAbort);
    }
  }

  /** Not awaited: the answer may be there before the confirmation of the add is. */
  #add(pending: Pending, writing: Promise<unknown> | null, onAccepted: (() => void) | undefined): void {
    const { patience, pending: requests } = this.deps;
    const adding = this.addAgain(pending);
    const confirmed = writing === null ? adding : Promise.all([writing, adding]);
    patience.within<unknown>(confirmed).then(
      () => {
        pending.accepted = true;
        this.deps.onAccepted();
        onAccepted?.();
      },
      (error: WarmlaneError) => {
        // The command may still reach Redis, when it is back: nobody waits for that job any more.
        if (requests.fail(pending, error)) adding.then(() => this.#remove(pending)).catch(() => undefined);
      },
    );
  }

  /** Settles the request without an answer and takes its job out, if nobody has begun it. */
  #end(pending: Pending, error: WarmlaneError): void {
    if (this.deps.pending.fail(pending, error)) this.#remove(pending, error.code === 'canceled');
  }

  #remove(pending: Pending, abandoned = false): void {
    const { replies, onAbandoned } = this.deps;
    // A job that is locked stays with its worker, which knows of deadlines, is told of senders that left, and answers
    // nobody. One that Redis cannot remove now is skipped by its worker, because its deadline has passed.
    pending.queue.remove(pending.request).then(
      (removed) => {
        if (removed === 1 && !pending.repeated) replies.neverComes(pending.request);
        else if (abandoned) onAbandoned(pending.request);
      },
      () => undefined,
    );
    if (!pending.repeated) return;
    const { model, version } = pending.data;
    this.deps.queues
      .get(coldQueueName(model, version))
      .remove(repeatOf(pending.data).jobId)
      .catch(() => undefined);
  }
}

function deadlineExceeded(): WarmlaneError {
  return new WarmlaneError(
    'deadline-exceeded',
    'the deadline passed before the answer was there',
    'Send it again with a longer deadline, or warm up its shape first.',
  );
}

function canceled(): WarmlaneError {
  return new WarmlaneError('canceled', 'the request was canceled by its sender');
}

function refuseIfAborted(signal: AbortSignal | null): void {
  if (signal?.aborted === true) throw canceled();
}
