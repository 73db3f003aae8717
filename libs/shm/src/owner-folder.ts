import { randomBytes } from 'node:crypto';
import { chmodSync, lstatSync, mkdirSync, readFileSync, renameSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { WarmlaneError } from '@warmlane/contracts';
import { ownLife, startOf } from './life.js';
import { ALIVE_FILE, NONCE_FILE, rootIn } from './slot-layout.js';

/** The folder of one process in shared memory, readable by its user alone. */
export class OwnerFolder {
  private constructor(
    /** The folder of all folders. */
    readonly root: string,
    /** Unguessable. */
    readonly owner: string,
    /** What only those can know who can read the folder. */
    readonly nonce: string,
  ) {}

  /**
   * Makes root and folder. Throws the system's error, or `conflict` where the root is not this user's own folder.
   *
   * @param dir the tmpfs @param keeperPid the process whose end is the end of this one's slots: its parent, or itself
   */
  static make(dir: string, keeperPid: number | null): OwnerFolder {
    const root = rootIn(dir);
    mkdirSync(root, { recursive: true, mode: 0o700 });
    checkRoot(root);
    const [owner, nonce] = [randomBytes(16).toString('hex'), randomBytes(16).toString('hex')];
    const folder = new OwnerFolder(root, owner, nonce);
    // Whoever sweeps must never see it half made.
    const draft = join(root, `.${owner}`);
    mkdirSync(draft, { mode: 0o700 });
    try {
      const keeper = keeperPid === null ? null : { pid: keeperPid, start: startOf(keeperPid) ?? '' };
      writeFileSync(join(draft, ALIVE_FILE), JSON.stringify({ ...ownLife(), keeper }), { mode: 0o600 });
      writeFileSync(join(draft, NONCE_FILE), nonce, { mode: 0o600 });
      renameSync(draft, folder.path);
    } catch (error) {
      rmSync(draft, { recursive: true, force: true });
      throw error;
    }
    return folder;
  }

  get path(): string {
    return join(this.root, this.owner);
  }

  /** Says that it is in use. @returns false where somebody deleted it */
  touch(): boolean {
    try {
      const now = new Date();
      utimesSync(join(this.path, ALIVE_FILE), now, now);
      return true;
    } catch {
      return false;
    }
  }

  remove(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}

/** In a folder where everybody may write, another user may have made it first. */
function checkRoot(root: string): void {
  const found = lstatSync(root);
  if (!found.isDirectory() || found.uid !== process.geteuid?.()) {
    throw new WarmlaneError(
      'conflict',
      `${root} belongs to another user, or is no folder`,
      'Delete it, or set WARMLANE_SHM_DIR to a tmpfs of your own.',
    );
  }
  if ((found.mode & 0o077) !== 0) chmodSync(root, 0o700);
}

/**
 * The nonce of another process: null where it cannot be read here, because it runs on another host, in a container with
 * a tmpfs of its own, or as another user.
 */
export function readNonce(dir: string, owner: string): string | null {
  const file = join(rootIn(dir), owner, NONCE_FILE);
  try {
    // Root reads everybody's; what root writes they could not read.
    if (lstatSync(file).uid !== process.geteuid?.()) return null;
    return readFileSync(file, 'utf8');
  } catch {
    return null;
  }
}
