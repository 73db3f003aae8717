import { WarmlaneError } from '@warmlane/contracts';

/** Nobody registered the name yet, and no live worker has finished its first load: it may still come. */
export class StillLoadingError extends WarmlaneError {
  constructor(cause: unknown) {
    super(
      'not-ready',
      'the model repository is still being loaded: it is not known yet whether the model is there',
      'Send it again in a second; where this lasts, no worker runs: see its log.',
      { cause },
    );
    this.name = 'StillLoadingError';
  }
}

/** Tells a name that is unknown from one that a worker is still reading. */
export interface FirstLoadPort {
  /**
   * The work's result. Where it rejects with `unknown-model` or `unknown-version` before the first load is over:
   * {@link StillLoadingError}. Work that rejects so has done nothing, and may be done again.
   */
  during<T>(work: () => Promise<T>): Promise<T>;
}
