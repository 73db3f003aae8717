const begun = performance.now();

/** A line on stderr with the seconds since the start: what a run that is cut off had reached. */
export function note(text: string): void {
  process.stderr.write(`[${((performance.now() - begun) / 1_000).toFixed(1)} s] ${text}\n`);
}
