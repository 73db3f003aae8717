import { WarmlaneError } from './errors.js';

/** An option that is unknown, refused, or has a bad value. Always `bad-request`. */
export class OptionError extends WarmlaneError {
  /** The key as it was given. */
  readonly key: string;
  /** The nearest known key, where the key is unknown. */
  readonly nearest: string | null;

  constructor(key: string, nearest: string | null, message: string, hint: string) {
    super('bad-request', message, hint);
    this.name = 'OptionError';
    this.key = key;
    this.nearest = nearest;
  }
}
