import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** A model repository and a data folder that are gone afterwards. */
export class BenchFolder implements AsyncDisposable {
  private constructor(readonly root: string) {}

  static async create(): Promise<BenchFolder> {
    return new BenchFolder(await mkdtemp(join(tmpdir(), 'warmlane-bench-')));
  }

  get models(): string {
    return join(this.root, 'models');
  }

  get data(): string {
    return join(this.root, 'data');
  }

  async add(name: string, bytes: Uint8Array, yaml: string): Promise<void> {
    const folder = join(this.models, name, '1');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'model.onnx'), bytes);
    await writeFile(join(folder, 'warmlane.yaml'), yaml);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.root, { recursive: true, force: true });
  }
}
