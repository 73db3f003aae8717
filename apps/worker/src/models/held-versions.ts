import { Injectable } from '@nestjs/common';
import { type HeldVersion, versionName } from './held-version.js';

/** The versions that this worker has loaded; which of them serve is for the model repository to say. */
@Injectable()
export class HeldVersions {
  private readonly byName = new Map<string, HeldVersion>();

  get all(): HeldVersion[] {
    return [...this.byName.values()];
  }

  find(name: string, version: string): HeldVersion | null {
    return this.byName.get(versionName({ name, version })) ?? null;
  }

  set(held: HeldVersion): void {
    this.byName.set(versionName(held), held);
  }

  remove(held: Pick<HeldVersion, 'name' | 'version'>): void {
    this.byName.delete(versionName(held));
  }
}
