import { createHash } from 'node:crypto';
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import { isDType, type NamedTensor, newId } from '@warmlane/contracts';

const MAGIC = Buffer.from('WLREF001');
const HASH_BYTES = 32;
const PREFIX_BYTES = MAGIC.byteLength + HASH_BYTES;

/** No write takes so long: the process that began it is gone. */
const ABANDONED_MS = 600_000;
/** How often the shared folder is looked through again. */
const PUTS_TO_RESCAN = 64;

interface Entry {
  bytes: number;
  usedMs: number;
}

/**
 * Outputs of reference runs on disk, `<folder>/<model digest>/<sha-256 of the key>.bin`: magic, SHA-256 of the rest, u32
 * header length, header (JSON), the tensors' bytes. Files are written beside their place and renamed into it; one whose
 * checksum is wrong is deleted and counts as absent. The least recently used go first above `maxBytes`. Only a cache:
 * what the disk refuses (full, read-only, not ours) is reported to `warn`, once per reason, and left out.
 */
export class ReferenceCache {
  readonly #entries = new Map<string, Entry>();
  readonly #warned = new Set<string>();
  #bytes = 0;
  #puts = 0;

  constructor(
    private readonly folder: string,
    private readonly maxBytes: number,
    private readonly warn: (message: string) => void,
  ) {
    this.#attempt('open', () => {
      mkdirSync(folder, { recursive: true });
      this.#rescan();
      this.#evict();
    });
  }

  get bytes(): number {
    return this.#bytes;
  }

  get(digest: string, key: string): NamedTensor[] | null {
    const file = this.#file(digest, key);
    const content = this.#attempt('read', () => readFileSync(file));
    if (content === null) {
      this.#forget(file);
      return null;
    }
    const outputs = decode(content);
    if (outputs === null) {
      this.warn(`reference ${file} is damaged: deleted, computed again`);
      this.#delete(file);
      return null;
    }
    const now = new Date();
    // Marks it as used just now.
    this.#attempt('touch', () => utimesSync(file, now, now));
    this.#remember(file, content.byteLength, now.getTime());
    return outputs;
  }

  put(digest: string, key: string, outputs: readonly NamedTensor[]): void {
    const file = this.#file(digest, key);
    const parts = encode(outputs);
    const bytes = parts.reduce((sum, part) => sum + part.byteLength, 0);
    if (bytes > this.maxBytes) return;
    if (!this.#write(file, parts)) return;
    this.#remember(file, bytes, Date.now());
    this.#puts += 1;
    if (this.#puts % PUTS_TO_RESCAN === 0) this.#attempt('look through', () => this.#rescan());
    this.#evict();
  }

  /** False where the disk refused. */
  #write(file: string, parts: readonly Uint8Array[]): boolean {
    const temporary = `${file}.${newId()}.tmp`;
    const written = this.#attempt('keep', () => {
      mkdirSync(path.dirname(file), { recursive: true });
      try {
        writeParts(temporary, parts);
        renameSync(temporary, file);
      } catch (error) {
        // Half a file on a full disk takes the room that the others need.
        this.#attempt('delete', () => rmSync(temporary, { force: true }));
        throw error;
      }
      return true;
    });
    return written === true;
  }

  /**
   * Null where the disk refuses. That a file is gone is no news, others share the folder; any other reason is told once,
   * for a full disk refuses every write.
   */
  #attempt<T>(what: string, action: () => T): T | null {
    try {
      return action();
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
      if (code !== 'ENOENT' && !this.#warned.has(`${what} ${code}`)) {
        this.#warned.add(`${what} ${code}`);
        const said = error instanceof Error ? error.message : String(error);
        this.warn(`cannot ${what} references in ${this.folder}, they are computed again instead: ${said}`);
      }
      return null;
    }
  }

  #file(digest: string, key: string): string {
    const name = createHash('sha256').update(key).digest('hex');
    return path.join(this.folder, digest.replaceAll(/[^A-Za-z0-9_-]/g, '-'), `${name}.bin`);
  }

  /** Other workers of this machine share the folder: what they keep counts, what they deleted does not. */
  #rescan(): void {
    this.#entries.clear();
    this.#bytes = 0;
    for (const digest of readdirSync(this.folder)) {
      const folder = path.join(this.folder, digest);
      if (statSync(folder, { throwIfNoEntry: false })?.isDirectory() !== true) continue;
      for (const name of readdirSync(folder)) this.#scan(path.join(folder, name));
    }
  }

  #scan(file: string): void {
    const stat = statSync(file, { throwIfNoEntry: false });
    if (stat === undefined) return;
    if (file.endsWith('.bin')) this.#remember(file, stat.size, stat.mtimeMs);
    // A life that ended between write and rename leaves these.
    else if (file.endsWith('.tmp') && stat.mtimeMs < Date.now() - ABANDONED_MS) rmSync(file, { force: true });
  }

  #remember(file: string, bytes: number, usedMs: number): void {
    this.#bytes += bytes - (this.#entries.get(file)?.bytes ?? 0);
    this.#entries.set(file, { bytes, usedMs });
  }

  #forget(file: string): void {
    this.#bytes -= this.#entries.get(file)?.bytes ?? 0;
    this.#entries.delete(file);
  }

  #delete(file: string): void {
    this.#attempt('delete', () => rmSync(file, { force: true }));
    this.#forget(file);
  }

  #evict(): void {
    if (this.#bytes <= this.maxBytes) return;
    const oldest = [...this.#entries].sort(([, a], [, b]) => a.usedMs - b.usedMs);
    for (const [file] of oldest) {
      if (this.#bytes <= this.maxBytes) return;
      this.#delete(file);
    }
  }
}

function writeParts(file: string, parts: readonly Uint8Array[]): void {
  const descriptor = openSync(file, 'wx', 0o600);
  try {
    for (const part of parts) writeFileSync(descriptor, part);
  } finally {
    closeSync(descriptor);
  }
}

function encode(outputs: readonly NamedTensor[]): Uint8Array[] {
  const header = Buffer.from(
    JSON.stringify(outputs.map(({ name, dtype, dims, data }) => ({ name, dtype, dims, bytes: data.byteLength }))),
  );
  const length = Buffer.alloc(4);
  length.writeUInt32LE(header.byteLength);
  const content = [length, header, ...outputs.map(({ data }) => data)];
  const hash = createHash('sha256');
  for (const part of content) hash.update(part);
  return [MAGIC, hash.digest(), ...content];
}

/** Null for a file that is not whole. */
function decode(file: Buffer): NamedTensor[] | null {
  if (file.byteLength < PREFIX_BYTES + 4 || !file.subarray(0, MAGIC.byteLength).equals(MAGIC)) return null;
  const content = file.subarray(PREFIX_BYTES);
  const hash = createHash('sha256').update(content).digest();
  if (!hash.equals(file.subarray(MAGIC.byteLength, PREFIX_BYTES))) return null;
  const headerEnd = 4 + content.readUInt32LE(0);
  const header: unknown = JSON.parse(content.toString('utf8', 4, headerEnd));
  let at = headerEnd;
  return (header as { name: string; dtype: string; dims: number[]; bytes: number }[]).flatMap((info) => {
    const data = content.subarray(at, at + info.bytes);
    at += info.bytes;
    return isDType(info.dtype) ? [{ name: info.name, dtype: info.dtype, dims: info.dims, data }] : [];
  });
}
