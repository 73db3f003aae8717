/** A proof counts for so long; each answer of the worker renews it. */
const PROVEN_MS = 60_000;

/** Which workers have proven that they read this process's slots: they sent its nonce with an answer. */
export class HostPeers {
  readonly #proven = new Map<string, number>();

  /** @param nonce this process's own; null while it has no slots */
  constructor(private readonly nonce: () => string | null) {}

  /** A worker answered, with the nonce that it read, if any. */
  answered(worker: string, proof: string | undefined): void {
    const nonce = this.nonce();
    if (nonce !== null && proof === nonce) this.#proven.set(worker, performance.now());
    else this.#proven.delete(worker);
  }

  /** True where every one of them has proven it, and there is one. */
  include(workers: Iterable<string>): boolean {
    const oldest = performance.now() - PROVEN_MS;
    let any = false;
    for (const worker of workers) {
      if ((this.#proven.get(worker) ?? Number.NEGATIVE_INFINITY) < oldest) return false;
      any = true;
    }
    return any;
  }

  /** One of them could not read a slot: all must prove themselves again. */
  distrust(): void {
    this.#proven.clear();
  }
}
