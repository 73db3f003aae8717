import { serveTasks } from './child-pool.js';
import { HttpLines } from './http-lines.js';
import { closedLoop, type LoadRun } from './load.js';
import { type OpenRun, openLoop } from './open-loop.js';

/** What the bench asks of a client over HTTP. */
export type HttpTask = { model: string; warmMs: number; measureMs: number } & (
  | { kind: 'closed'; inFlight: number }
  | { kind: 'open'; perSecond: number; seed: number }
);
export type HttpResult =
  | { kind: 'closed'; run: LoadRun; bytes: number }
  | { kind: 'open'; run: OpenRun }
  | { kind: 'failed'; why: string };

/** Lines over HTTP, spread evenly over the API processes: `URLS WIDTHS DEADLINE_MS`, lists with commas. */
const [urls = '', widths = '', deadlineMs = ''] = process.argv.slice(2);
const apis = urls.split(',').map((url) => new HttpLines(url, widths.split(',').map(Number)));
/** A closed loop measures what is answered: none of its requests is to be refused for its deadline. */
const CLOSED_DEADLINE_MS = 60_000;
let next = 0;

/** Widths take turns, and so do the APIs, each with all widths. */
function send(model: string, limitMs: number) {
  const n = next;
  next += 1;
  const api = apis[n % apis.length];
  if (api === undefined) throw new Error('no API');
  return api.send(model, Math.floor(n / apis.length), limitMs);
}

serveTasks<HttpTask, HttpResult>(
  async (task) => {
    const { model, warmMs, measureMs } = task;
    if (task.kind === 'open') {
      const { perSecond, seed } = task;
      return {
        kind: 'open',
        run: await openLoop(perSecond, { warmMs, measureMs, seed }, () => send(model, Number(deadlineMs))),
      };
    }
    let [bytes, answers] = [0, 0];
    const run = await closedLoop(task.inFlight, warmMs, measureMs, async () => {
      const outcome = await send(model, CLOSED_DEADLINE_MS);
      if (outcome.served === 'shed') throw new Error('a request of a closed loop was refused');
      bytes += outcome.bytes;
      answers += 1;
    });
    return { kind: 'closed', run, bytes: (bytes / answers) * run.latencies.length };
  },
  async () => {
    await Promise.all(apis.map((api) => api.close()));
  },
);
