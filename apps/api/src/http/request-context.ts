import type { Caller } from './access.js';
import type { Reservation } from './bytes-in-flight.js';

declare module 'fastify' {
  interface FastifyRequest {
    /** Set before the handler runs. */
    caller: Caller;
    reservation: Reservation;
    /** SHA-256 of the body as it came, hex; only of requests with an idempotency-key. */
    bodyDigest: string | null;
    /** Gives the body's memory to later ones: nobody may look at it any more. Null without a body. */
    bodyDone: (() => void) | null;
  }
}
