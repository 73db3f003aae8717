import { Inject, Injectable } from '@nestjs/common';
import type { ModelDoc } from '@warmlane/contracts';
import { declaredPlan } from '@warmlane/lanes';
import type { Logger } from '@warmlane/observability';
import { type DesiredModel, desiredOf } from '@warmlane/redis';
import { ListenerHub } from '../lanes/listener-hub.js';
import { LOGGER } from '../logger.js';
import { WorkerRedis } from '../redis.provider.js';
import { WORKER_CONFIG, type WorkerConfig } from '../worker.config.js';
import { type HeldVersion, versionName } from './held-version.js';
import { HeldVersions } from './held-versions.js';
import { LoadAnswers } from './load-answers.js';
import { type LoadResult, ModelLoader } from './model-loader.js';
import { type FoundVersion, scanRepository } from './repository-scan.js';
import { isUntouched, readVersionFiles } from './version-folder.js';

/** What was read of one version here. */
interface Local {
  found: FoundVersion;
  result: LoadResult;
}

/** This worker's copy of the model repository, in step with what is registered and desired in Redis. */
@Injectable()
export class ModelRepository {
  private readonly local = new Map<string, Local>();
  /** Versions that serving was told of. */
  private readonly active = new Map<string, HeldVersion>();

  constructor(
    @Inject(WORKER_CONFIG) private readonly config: WorkerConfig,
    @Inject(WorkerRedis) private readonly redis: WorkerRedis,
    @Inject(ModelLoader) private readonly loader: ModelLoader,
    @Inject(LoadAnswers) private readonly loads: LoadAnswers,
    @Inject(HeldVersions) private readonly held: HeldVersions,
    @Inject(ListenerHub) private readonly hub: ListenerHub,
    @Inject(LOGGER) private readonly logger: Logger,
  ) {}

  /** Reads the whole repository. Rejects where its folder cannot be read. */
  async open(): Promise<void> {
    for (const found of await scanRepository(this.config.models)) await this.read(found);
  }

  /** Versions that this worker holds with the registered digest, and that are LOADED. */
  get serving(): HeldVersion[] {
    return [...this.active.values()];
  }

  /** Brings memory, Redis and listeners in step. @returns every registered version */
  async sync(): Promise<ModelDoc[]> {
    const wishes = await this.redis.models.desired();
    const loads = await this.readWanted(wishes);
    for (const held of this.held.all) await this.checkBytes(held);
    const before = await this.redis.models.list();
    for (const local of this.local.values()) await this.syncOne(local, before, wishes);
    const docs = await this.redis.models.list();
    await this.tell(docs);
    for (const [name, wish] of loads) await this.loads.say(name, wish, 'done');
    return docs;
  }

  /** Everything that serving was told of is dropped; for the end of the worker. */
  async close(): Promise<void> {
    await this.tell([]);
  }

  /** Reads what was asked for. @returns the wishes that can be called done once this is registered */
  private async readWanted(wishes: readonly DesiredModel[]): Promise<Map<string, number>> {
    const loads = this.loads.open(wishes);
    const names = new Set(wishes.filter((wish) => wish.desired === 'load').map((wish) => wish.name));
    for (const name of names) {
      const found = await scanRepository(this.config.models, name);
      const wish = loads.get(name);
      if (wish !== undefined) await this.loads.say(name, wish, found.length === 0 ? 'none' : 'found');
      if (found.length === 0) loads.delete(name);
      for (const one of found) {
        if (wish !== undefined || !this.local.has(versionName(one))) await this.read(one);
      }
    }
    return loads;
  }

  private async read(found: FoundVersion): Promise<void> {
    const name = versionName(found);
    const before = this.local.get(name)?.result;
    const known = before?.ok === true && before.held.refusal === null ? before.held : null;
    const result = await this.loader.load(this.config.models, found, known);
    if (before?.ok === true && result.ok && sameVersion(before.held, result.held)) {
      before.held.files = result.held.files;
      return;
    }
    this.local.set(name, { found, result });
    if (result.ok) this.held.set(result.held);
    else {
      this.held.remove(found);
      this.logger.warn(
        { model: found.name, version: found.version, reason: result.reason },
        'a model cannot be loaded',
      );
    }
  }

  /** A version's bytes never change: a lane made now would not be the one that was proven. */
  private async checkBytes(held: HeldVersion): Promise<void> {
    if (held.refusal !== null || (await isUntouched(held.files))) return;
    const files = await readVersionFiles(held.folder).catch(() => null);
    if (files !== null && files.digest === held.files.digest) held.files = files;
    else held.refusal = changedText(held);
  }

  private async syncOne(local: Local, docs: readonly ModelDoc[], wishes: readonly DesiredModel[]): Promise<void> {
    const { name, version } = local.found;
    const doc = docs.find((one) => one.name === name && one.version === version);
    const wish = desiredOf(wishes, name, version);
    if (doc === undefined || this.isNews(local, doc)) await this.register(local);
    else this.refuseOtherBytes(local, doc);
    if (wish === 'unload' && doc?.state !== 'UNLOADED') {
      await this.redis.models.setState(name, version, 'UNLOADED', 'unloaded on request');
    }
    if (wish === 'load' && doc?.state === 'UNLOADED') {
      const { result } = local;
      await this.redis.models.setState(name, version, result.ok ? 'LOADED' : 'FAILED', result.ok ? '' : result.reason);
    }
  }

  /** What this worker read is not what stands in Redis: its yaml changed, or it can load what others could not. */
  private isNews({ result }: Local, doc: ModelDoc): boolean {
    if (!result.ok) return false;
    if (result.held.refusal !== null) return false;
    if (doc.digest !== result.held.files.digest) return true;
    return (
      doc.state === 'FAILED' ||
      doc.state === 'LOADING' ||
      JSON.stringify(doc.config) !== JSON.stringify(result.held.config)
    );
  }

  /** Other bytes than registered, whether they load or not: what is registered is shown, and refused here. */
  private refuseOtherBytes({ found, result }: Local, doc: ModelDoc): void {
    const { name, version, folder } = found;
    const digest = result.ok ? result.held.files.digest : result.digest;
    if (digest === null || doc.digest === null || digest === doc.digest || doc.metadata === null) return;
    if (this.held.find(name, version)?.refusal !== undefined) return;
    const files = { modelPath: '', digest: doc.digest, stamps: [] };
    const { config, metadata } = doc;
    const refusal = changedText(found);
    this.held.set({ name, version, folder, files, config, metadata, sampleFiles: new Map(), refusal });
    this.logger.error({ model: name, version, digest, registered: doc.digest }, refusal);
  }

  private async register({ found, result }: Local): Promise<void> {
    const { name, version } = found;
    if (!result.ok) {
      const { reason, digest, config } = result;
      await this.redis.models.register({ name, version, state: 'FAILED', reason, digest, metadata: null, config });
      return;
    }
    const { held } = result;
    const { config, metadata } = held;
    const { digest } = held.files;
    // LOADED only with its plan: until then nobody may take it for ready because it has none.
    const registered = await this.redis.models.register({
      name,
      version,
      state: 'LOADING',
      reason: '',
      digest,
      metadata,
      config,
    });
    if (!registered) {
      held.refusal = changedText(held);
      this.logger.error({ model: name, version, digest }, held.refusal);
      return;
    }
    await this.redis.plans.setDeclared(name, version, declaredPlan(metadata, config));
    await this.redis.models.setState(name, version, 'LOADED', '', ['LOADING', 'FAILED']);
  }

  /** Why this worker does not serve a version that it has a folder of; null where it does, or has none. */
  failureOf(name: string, version: string): string | null {
    const refusal = this.held.find(name, version)?.refusal;
    if (refusal !== undefined && refusal !== null) return refusal;
    const result = this.local.get(versionName({ name, version }))?.result;
    return result === undefined || result.ok ? null : result.reason;
  }

  /** Serving is told what it may serve from now on, and what no more. */
  private async tell(docs: readonly ModelDoc[]): Promise<void> {
    const now = new Map<string, HeldVersion>();
    for (const held of this.held.all) {
      const doc = docs.find((one) => one.name === held.name && one.version === held.version);
      if (held.refusal === null && doc?.state === 'LOADED') now.set(versionName(held), held);
    }
    for (const [name, held] of this.active) {
      if (now.get(name) === held) continue;
      this.active.delete(name);
      await this.hub.modelDropped(held);
    }
    for (const [name, held] of now) {
      if (this.active.has(name)) continue;
      this.active.set(name, held);
      await this.hub.modelHeld(held);
    }
  }
}

/** Read again and found as it was: then nothing is told anew. */
function sameVersion(before: HeldVersion, now: HeldVersion): boolean {
  const facts = ({ files, config, sampleFiles }: HeldVersion) =>
    JSON.stringify([files.digest, config, [...sampleFiles].map(([name, { sha256 }]) => [name, sha256])]);
  return before.refusal === null && facts(before) === facts(now);
}

function changedText({ name, version }: Pick<HeldVersion, 'name' | 'version'>): string {
  return `the files of ${name}/${version} here are not those that were registered: publish a new version`;
}
