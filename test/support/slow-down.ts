import { spawn } from 'node:child_process';
import { once } from 'node:events';

/** In a process of its own: timers of a busy test would leave the other one stopped for longer. */
const SCRIPT = `
const [pid, stopMs, goMs] = process.argv.slice(1).map(Number);
const end = () => { try { process.kill(pid, 'SIGCONT'); } catch {} process.exit(0); };
process.stdin.on('end', end).resume();
const stop = () => { try { process.kill(pid, 'SIGSTOP'); } catch { end(); } setTimeout(go, stopMs); };
const go = () => { try { process.kill(pid, 'SIGCONT'); } catch { end(); } setTimeout(stop, goMs); };
stop();
`;

/**
 * Slows a process down from outside, as a neighbour on its cores or a throttled GPU would: it is stopped for `stopMs` after
 * every `goMs`. Returns what lets it run again; it does as well when this process ends.
 */
export function slowDown(pid: number, { stopMs, goMs }: { stopMs: number; goMs: number }): () => Promise<void> {
  const helper = spawn(process.execPath, ['-e', SCRIPT, String(pid), String(stopMs), String(goMs)], {
    stdio: ['pipe', 'ignore', 'inherit'],
  });
  const exited = once(helper, 'exit');
  return async () => {
    helper.stdin?.end();
    await exited;
  };
}
