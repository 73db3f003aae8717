/** Something this machine lacks or a setting that cannot work. The message says what to do about it. */
export class SetupError extends Error {
  override readonly name = 'SetupError';
}
