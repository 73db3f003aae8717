import {
  type ModelDoc,
  type ModelMetadata,
  type ServingRules,
  servingRulesOf,
  WarmlaneError,
} from '@warmlane/contracts';
import { chooseDefaultVersion, type ModelStore } from '@warmlane/redis';

/** A model version that can be asked for answers: its metadata is there. */
export interface ServableModel {
  name: string;
  version: string;
  metadata: ModelMetadata;
  /** What serves its requests beside lanes of their exact shape. */
  rules: ServingRules;
}

/** A document is used this long without a look ... */
const FRESH_MS = 1_000;
/** ... and up to this age while the next look is under way. */
const USABLE_MS = 5_000;
/** Names come from outside: past this many the cache starts anew. */
const MAX_ENTRIES = 10_000;

interface Entry {
  model: ServableModel | null;
  at: number;
  looking: Promise<ServableModel> | null;
}

/** Model documents by name and version (or the default version), so that a request costs no look-up of its own. */
export class ModelCache {
  readonly #entries = new Map<string, Entry>();
  #validFrom = Number.NEGATIVE_INFINITY;

  constructor(private readonly models: ModelStore) {}

  /**
   * The version that serves; null stands for the default version. Throws or rejects `unknown-model`, `unknown-version`,
   * or `not-ready` with the reason while the version is not loaded.
   */
  get(name: string, version: string | null): ServableModel | Promise<ServableModel> {
    const entry = this.#entry(`${name}/${version ?? ''}`);
    const age = entry.at < this.#validFrom ? Number.POSITIVE_INFINITY : performance.now() - entry.at;
    if (entry.model !== null && age < FRESH_MS) return entry.model;
    entry.looking ??= this.#look(entry, name, version);
    if (entry.model === null || age >= USABLE_MS) return entry.looking;
    entry.looking.catch(() => undefined);
    return entry.model;
  }

  /** A model changed: look again at the next request. */
  forget(): void {
    this.#validFrom = performance.now();
  }

  #entry(id: string): Entry {
    const known = this.#entries.get(id);
    if (known !== undefined) return known;
    if (this.#entries.size >= MAX_ENTRIES) this.#entries.clear();
    const entry: Entry = { model: null, at: Number.NEGATIVE_INFINITY, looking: null };
    this.#entries.set(id, entry);
    return entry;
  }

  async #look(entry: Entry, name: string, version: string | null): Promise<ServableModel> {
    const startedAt = performance.now();
    try {
      entry.model = await findServable(this.models, name, version);
      entry.at = startedAt;
      return entry.model;
    } catch (error) {
      // A version that went away must not be served from here until its age runs out.
      if (error instanceof WarmlaneError && error.code !== 'redis-away') entry.model = null;
      throw error;
    } finally {
      entry.looking = null;
    }
  }
}

async function findServable(models: ModelStore, name: string, version: string | null): Promise<ServableModel> {
  const doc = await findModel(models, name, version);
  if (doc.state !== 'LOADED' || doc.metadata === null) {
    throw new WarmlaneError(
      'not-ready',
      `model '${doc.name}' version ${doc.version} is ${describeState(doc)}`,
      doc.state === 'UNLOADED' ? 'Load it over the repository API first.' : 'See GET /v1/models for its state.',
    );
  }
  const { metadata } = doc;
  return { name: doc.name, version: doc.version, metadata, rules: servingRulesOf(metadata, doc.config) };
}

/** A registered model version, in whatever state. Rejects `unknown-model` or `unknown-version`. */
export async function findModel(models: ModelStore, name: string, version: string | null): Promise<ModelDoc> {
  const versions = await models.versions(name);
  if (versions.length === 0) {
    throw new WarmlaneError(
      'unknown-model',
      `unknown model '${name}': no worker ever registered it`,
      'GET /v1/models lists the registered models; a worker that starts registers those of its repository.',
    );
  }
  const chosen = version ?? chooseDefaultVersion(versions);
  const doc = versions.find((candidate) => candidate.version === chosen);
  if (doc !== undefined) return doc;
  if (version !== null) {
    throw new WarmlaneError(
      'unknown-version',
      `model '${name}' has no version ${version}`,
      `Its versions: ${versions.map((each) => each.version).join(', ')}.`,
    );
  }
  throw new WarmlaneError(
    'not-ready',
    `model '${name}' has no loaded version`,
    versions.map((each) => `Version ${each.version} is ${describeState(each).replace(/\.+$/, '')}.`).join(' '),
  );
}

function describeState(doc: ModelDoc): string {
  return doc.reason === '' ? doc.state : `${doc.state}: ${doc.reason}`;
}
