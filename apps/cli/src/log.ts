/** One line for the person or collector that reads stderr. stdout is for results alone. */
export type Log = (text: string) => void;

/** Lines on stderr as `warmlane ROLE: text`. */
export function stderrLog(role: string): Log {
  return (text) => {
    process.stderr.write(`warmlane ${role}: ${text}\n`);
  };
}
