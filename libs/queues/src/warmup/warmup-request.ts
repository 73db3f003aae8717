import {
  checkShapeKey,
  DEFAULT_PRIORITY,
  DEFAULT_WARMUP_DEADLINE_MS,
  type EntryWarmJob,
  entryWarmJobSchema,
  parseOptionsByProvider,
  WarmlaneError,
} from '@warmlane/contracts';
import type { ModelStore, PlanStore, WarmupRequest } from '@warmlane/redis';
import { describeIssue } from '../form.js';
import { findModel } from '../producer/model-cache.js';

/** What a caller asks for; the defaults are filled in here. */
export type WarmupInput = Omit<EntryWarmJob, 'v'>;

/**
 * Checks the whole request before anything is written. Throws `bad-request` (a key that disagrees with the model's
 * metadata, an unknown option, an empty plan), `unknown-model`, `unknown-version`, `not-ready` where the model's metadata
 * is not there.
 */
export async function toWarmupRequest(
  input: WarmupInput,
  models: ModelStore,
  plans: PlanStore,
): Promise<WarmupRequest> {
  const parsed = entryWarmJobSchema.safeParse({ v: 1, ...input });
  if (!parsed.success) throw new WarmlaneError('bad-request', `warm-up: ${describeIssue(parsed.error)}`);
  const { model, version, shapes, replicas, options = {}, tune = false, priority, deadlineMs } = parsed.data;
  const doc = await findModel(models, model, version);
  if (doc.metadata === null || doc.state === 'UNLOADED' || doc.state === 'FAILED') {
    throw new WarmlaneError(
      'not-ready',
      `model '${model}' version ${version} is ${doc.state}${doc.reason === '' ? '' : `: ${doc.reason}`}`,
      doc.state === 'UNLOADED' ? 'Load it first.' : 'See GET /v1/models for its state.',
    );
  }
  parseOptionsByProvider(options);
  const { metadata } = doc;
  const keys = shapes === 'plan' ? await planned(plans, model, version) : shapes;
  return {
    model,
    version,
    shapes: [...new Set(keys.map((key) => checkShapeKey(metadata, key).key))],
    replicas: replicas ?? null,
    priority: priority ?? DEFAULT_PRIORITY,
    options,
    tune,
    deadlineMs: deadlineMs ?? DEFAULT_WARMUP_DEADLINE_MS,
  };
}

async function planned(plans: PlanStore, model: string, version: string): Promise<string[]> {
  const entries = await plans.entries(model, version);
  if (entries.length === 0) {
    throw new WarmlaneError(
      'bad-request',
      `the plan of model '${model}' version ${version} is empty`,
      'Name the shapes, or list them in its warmlane.yaml.',
    );
  }
  return entries.map((entry) => entry.shapeKey);
}
