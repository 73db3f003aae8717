import type { Redis } from 'ioredis';

/** What of a socket is needed. */
interface Socket {
  write(...args: never[]): boolean;
  cork(): void;
  uncork(): void;
}

/**
 * Sends the commands of one turn of the event loop in one write: ioredis writes each by itself, and a batch of 8 requests
 * that ends at once is 8 answers and 8 ended jobs. Order and results are as before.
 */
export function writeOncePerTurn(redis: Redis): void {
  redis.on('connect', () => holdBack(redis.stream));
}

function holdBack(socket: Socket): void {
  const write = socket.write.bind(socket);
  let held = false;
  socket.write = (...args) => {
    if (!held) {
      held = true;
      socket.cork();
      // After the microtasks of this turn: what they send goes along.
      process.nextTick(() => {
        held = false;
        socket.uncork();
      });
    }
    return write(...args);
  };
}
