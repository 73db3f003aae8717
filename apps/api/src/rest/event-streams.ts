import type { FastifyReply } from 'fastify';

/** Proxies cut connections that are silent for long. */
const KEEP_ALIVE_MS = 15_000;

/** One open stream of server-sent events. */
export class EventStream {
  readonly #timer: NodeJS.Timeout;
  #open = true;
  #onEnd: () => void = () => undefined;

  constructor(private readonly reply: FastifyReply) {
    reply.hijack();
    reply.raw.writeHead(200, {
      'content-type': 'text/event-stream',
      'cache-control': 'no-cache',
      'x-accel-buffering': 'no',
    });
    reply.raw.flushHeaders();
    reply.raw.once('close', () => this.end());
    this.#timer = setInterval(() => reply.raw.write(':\n\n'), KEEP_ALIVE_MS);
  }

  get open(): boolean {
    return this.#open;
  }

  /** Called once, when the client leaves or the stream is ended. */
  onEnd(listener: () => void): void {
    this.#onEnd = listener;
  }

  send(data: unknown): void {
    if (this.#open) this.reply.raw.write(`data: ${JSON.stringify(data)}\n\n`);
  }

  end(): void {
    if (!this.#open) return;
    this.#open = false;
    clearInterval(this.#timer);
    this.reply.raw.end();
    this.#onEnd();
  }
}

/** All open streams, so that a closing server can end them: they would hold it open. */
export class EventStreams {
  readonly #streams = new Set<EventStream>();

  open(reply: FastifyReply, onEnd: () => void): EventStream {
    const stream = new EventStream(reply);
    this.#streams.add(stream);
    stream.onEnd(() => {
      this.#streams.delete(stream);
      onEnd();
    });
    return stream;
  }

  close(): void {
    for (const stream of [...this.#streams]) stream.end();
  }
}
