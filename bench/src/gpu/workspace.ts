import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { CUDA_ENVIRONMENT } from '@warmlane/contracts';
import { median, type Row } from '../support/result.js';
import type { WorkspaceLane } from './workspace-lanes.js';

const PROGRAM = fileURLToPath(new URL('./workspace-lanes.js', import.meta.url));
const ROUNDS = 3;
const LIMIT_MS = 120_000;

/** The same lanes with cuBLAS workspaces of its own choice and of ours, in processes in turn: replay time and memory of a lane. */
export async function measureWorkspace(): Promise<Row[]> {
  const configs = { 'its own choice': undefined, ours: CUDA_ENVIRONMENT.CUBLAS_WORKSPACE_CONFIG } as const;
  const found = new Map<string, WorkspaceLane[]>();
  for (let round = 0; round < ROUNDS; round += 1) {
    for (const [name, config] of Object.entries(configs)) {
      for (const lane of await lanesUnder(config)) {
        const key = JSON.stringify([lane.model, lane.shapeKey, name]);
        found.set(key, [...(found.get(key) ?? []), lane]);
      }
    }
  }
  return [...found].map(([key, lanes]) => {
    const [model, shapeKey, workspace] = JSON.parse(key) as [string, string, string];
    return {
      ...{ part: 'workspace', model, shapeKey, workspace, rounds: lanes.length },
      replayP50Ms: median(lanes.map((lane) => lane.replayP50Ms)),
      memoryMiB: median(lanes.map((lane) => lane.memoryMiB)),
    };
  });
}

async function lanesUnder(config: string | undefined): Promise<WorkspaceLane[]> {
  const { CUBLAS_WORKSPACE_CONFIG: _, ...env } = process.env;
  const { stdout } = await promisify(execFile)(process.execPath, [PROGRAM], {
    env: { ...env, ...(config === undefined ? {} : { CUBLAS_WORKSPACE_CONFIG: config }) },
    timeout: LIMIT_MS,
    maxBuffer: 2 ** 24,
  });
  return JSON.parse(stdout) as WorkspaceLane[];
}
