import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { withChecksum } from '@warmlane/testing';
import { z } from 'zod';
import { BenchFolder } from '../support/repository.js';
import { median, percentile, type Row, round } from '../support/result.js';
import { System, startRedis } from '../support/system.js';
import type { PartOptions } from './part-options.js';
import { note } from './progress.js';
import { modelPath } from './stage.js';
import type { TimedOutcome, TrafficMessage, TrafficResult, TrafficTask } from './traffic-producer.js';
import { warmUp } from './warm-ups.js';
import { captureSpans, WorkerLog } from './worker-log.js';

const IN_FLIGHT = 8;
const CLOSED_MS = 3_000;
const ALONE_MS = 6_000;
const WARM_MS = 1_000;
/** The open loop ends when the lanes are READY; this is only its limit. */
const ROUND_LIMIT_MS = 300_000;
const SHARE = 0.5;

const lanesSchema = z.object({
  lanes: z.array(z.object({ shapeKey: z.string(), record: z.object({ captureMs: z.number().nullable() }).nullable() })),
});

interface Span {
  from: number;
  until: number;
}

interface Round {
  outcomes: TimedOutcome[];
  /** From the warm-up request to the last READY. */
  span: Span;
  captures: Span[];
}

/**
 * Open loop at half of what the ready lanes do in a closed loop, through the queue from a process of its own, first alone,
 * then while other lanes of the model warm. Each round warms new widths, one lane after the other as the worker does it:
 * nothing of them is known, so on a GPU each is tried in a disposable process first, on the same device.
 *
 * `p99Ratio`: p99 of requests under way at no moment of a capture, over p99 alone. A capture lasts from the worker's line
 * for CAPTURING, which stands before it, to that for MEASURING, after it: a little longer than the native call.
 * `p99RatioAll`: p99 of all requests sent from the warm-up request to the last READY, over p99 alone.
 * `longestStallMs`: the longest time within that span in which requests were under way and none was answered.
 */
export async function measureBesideTraffic(
  options: PartOptions,
  scratch: string,
): Promise<{ rows: Row[]; figures: Record<string, number> }> {
  await using server = await startRedis();
  await using folder = await BenchFolder.create();
  const widths = Array.from({ length: options.beside }, (_, at) => 160 + 40 * at);
  const yaml = 'options: { cudnn_conv_algo_search: HEURISTIC }\ninputs: { x: { random: [-1, 1] } }\n';
  const bytes = withChecksum(await readFile(modelPath(options, 'rec')));
  await folder.add('rec', bytes, `${yaml}shapes: ${JSON.stringify(widths.map(keyOf))}\n`);
  const log = join(scratch, 'beside-traffic.log');
  const env = { WARMLANE_COLD: 'cpu', WARMLANE_LOG_LEVEL: 'info' };
  await using system = await System.start({
    ...{ models: folder.models, redis: server.url, data: folder.data, device: options.device, env, log },
  });
  await system.untilReady(ROUND_LIMIT_MS);
  await using traffic = await Traffic.start(server.url);
  const closed = await traffic.run({
    kind: 'closed',
    widths,
    inFlight: IN_FLIGHT,
    warmMs: WARM_MS,
    measureMs: CLOSED_MS,
  });
  if (closed.kind !== 'closed') throw new Error('no closed loop');
  const perSecond = SHARE * closed.run.perSecond;
  note(
    `besideTraffic: ${closed.run.perSecond.toFixed(0)} requests/s in a closed loop, ${perSecond.toFixed(0)} offered`,
  );
  const task = { kind: 'open' as const, widths, perSecond, warmMs: WARM_MS };
  const alone = await traffic.open({ ...task, measureMs: ALONE_MS, seed: 1 });

  const rounds: Round[] = [];
  for (let round = 0; round < options.rounds; round += 1) {
    const shapes = widths.map((width) => keyOf(width + 8 * (round + 1)));
    const running = traffic.open({ ...task, measureMs: ROUND_LIMIT_MS, seed: round + 2 });
    await new Promise((resolve) => setTimeout(resolve, WARM_MS));
    try {
      const { sentAt } = await warmUp(system.url, { model: 'rec', shapes, limitMs: ROUND_LIMIT_MS });
      const moves = (await WorkerLog.read(log)).moves(sentAt);
      const readyAt = moves.filter(({ to }) => to === 'READY').map(({ time }) => time);
      rounds.push({ outcomes: [], span: { from: sentAt, until: Math.max(...readyAt) }, captures: captureSpans(moves) });
    } finally {
      traffic.end();
    }
    const { outcomes } = await running;
    const last = rounds.at(-1);
    if (last !== undefined) last.outcomes = outcomes.filter(({ sentAt }) => inside(sentAt, last.span));
    note(
      `besideTraffic: round ${round + 1}: ${last?.outcomes.length ?? 0} requests, ${last?.captures.length ?? 0} captures`,
    );
  }
  const after = await traffic.open({ ...task, measureMs: ALONE_MS, seed: 99 });
  const nativeMs = await captureMs(system.url, widths);

  const aloneP99 = percentile(
    alone.outcomes.map(({ ms }) => ms),
    99,
  );
  const all = rounds.flatMap(({ outcomes }) => outcomes);
  const outside = rounds.flatMap(({ outcomes, captures }) => outcomes.filter((one) => !overlaps(one, captures)));
  const rows: Row[] = [
    rowOf('alone, before', perSecond, alone.outcomes, []),
    ...rounds.map((one, at) => rowOf(`round ${at + 1}`, perSecond, one.outcomes, one.captures, one.span)),
    rowOf('alone, after', perSecond, after.outcomes, []),
    {
      part: 'besideTraffic',
      what: 'captures',
      through: 'the queue, from one producer process',
      closedPerSecond: round(closed.run.perSecond, 1),
      captures: rounds.reduce((sum, { captures }) => sum + captures.length, 0),
      longestCaptureMs: round(Math.max(0, ...nativeMs), 3),
      medianCaptureMs: nativeMs.length === 0 ? null : round(median(nativeMs), 3),
      longestWindowMs: Math.max(
        0,
        ...rounds.flatMap(({ captures }) => captures.map(({ from, until }) => until - from)),
      ),
    },
  ];
  return {
    rows,
    figures: {
      p99Ratio:
        percentile(
          outside.map(({ ms }) => ms),
          99,
        ) / aloneP99,
      p99RatioAll:
        percentile(
          all.map(({ ms }) => ms),
          99,
        ) / aloneP99,
      longestStallMs: round(Math.max(...rounds.map(({ outcomes, span }) => longestStall(outcomes, span))), 3),
    },
  };
}

function keyOf(width: number): string {
  return `x:float32[1,3,48,${width}]`;
}

function inside(time: number, { from, until }: Span): boolean {
  return time >= from && time <= until;
}

function overlaps({ sentAt, ms }: TimedOutcome, spans: readonly Span[]): boolean {
  return spans.some(({ from, until }) => sentAt <= until && sentAt + ms >= from);
}

/** The longest time in which requests were under way and none was answered, ms. */
function longestStall(outcomes: readonly TimedOutcome[], span: Span): number {
  const events = outcomes.flatMap(({ sentAt, ms }) => [
    { time: sentAt, step: 1 },
    { time: sentAt + ms, step: -1 },
  ]);
  events.sort((a, b) => a.time - b.time || b.step - a.step);
  let underWay = 0;
  let since = span.from;
  let longest = 0;
  for (const { time, step } of events) {
    if (step === 1 && underWay === 0) since = time;
    if (step === -1) {
      longest = Math.max(longest, time - since);
      since = time;
    }
    underWay += step;
  }
  return longest;
}

/** Native time of each capture of lanes that warmed beside the traffic, from their records. */
async function captureMs(url: string, readyWidths: readonly number[]): Promise<number[]> {
  const { lanes } = lanesSchema.parse(await (await fetch(`${url}/v1/lanes?model=rec`)).json());
  const ready = new Set(readyWidths.map(keyOf));
  return lanes.flatMap(({ shapeKey, record }) => (ready.has(shapeKey) ? [] : (record?.captureMs ?? [])));
}

function rowOf(
  what: string,
  perSecond: number,
  outcomes: readonly TimedOutcome[],
  captures: readonly Span[],
  span?: Span,
): Row {
  const ms = outcomes.map((one) => one.ms);
  const outside = outcomes.filter((one) => !overlaps(one, captures)).map((one) => one.ms);
  const first = outcomes[0]?.sentAt ?? 0;
  const last = outcomes.at(-1)?.sentAt ?? 0;
  const lasted = span ?? { from: first, until: last };
  return {
    part: 'besideTraffic',
    what,
    offeredPerSecond: round(perSecond, 1),
    seconds: round((lasted.until - lasted.from) / 1_000, 3),
    requests: ms.length,
    requestsOutsideCaptures: outside.length,
    p50Ms: round(percentile(ms, 50), 3),
    p99Ms: round(percentile(ms, 99), 3),
    p99OutsideMs: round(percentile(outside, 99), 3),
    maxMs: round(Math.max(...ms), 3),
    longestStallMs: round(longestStall(outcomes, lasted), 3),
    ready: outcomes.filter(({ served }) => served === 'ready').length,
    cold: outcomes.filter(({ served }) => served === 'cold').length,
  };
}

/** The producer process. */
class Traffic implements AsyncDisposable {
  private constructor(private readonly child: ChildProcess) {}

  static async start(redis: string): Promise<Traffic> {
    const child = fork(new URL('./traffic-producer.js', import.meta.url), [redis]);
    await once(child, 'message');
    return new Traffic(child);
  }

  async run(task: TrafficTask): Promise<TrafficResult> {
    const answer = once(this.child, 'message');
    this.tell(task);
    const [result] = (await answer) as [TrafficResult];
    if (result.kind === 'failed') throw new Error(result.why);
    return result;
  }

  async open(task: TrafficTask & { kind: 'open' }): Promise<{ outcomes: TimedOutcome[] }> {
    const result = await this.run(task);
    if (result.kind !== 'open') throw new Error('no open loop');
    return result.run;
  }

  end(): void {
    this.tell({ kind: 'end' });
  }

  private tell(message: TrafficMessage): void {
    this.child.send(message);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.child.exitCode !== null) return;
    this.child.disconnect();
    await once(this.child, 'exit');
  }
}
