import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, symlink, utimes, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { externalDataModel, loopModel, sqrtModel } from '@warmlane/testing';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { externalLocationsOf } from './onnx-external.js';
import { scanRepository } from './repository-scan.js';
import { insidePath, isUntouched, readVersionFiles } from './version-folder.js';

let root: string;
let folder: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), 'warmlane-folder-'));
  folder = join(root, 'models', 'm', '1');
  await mkdir(folder, { recursive: true });
});
afterEach(() => rm(root, { recursive: true, force: true }));

const put = (name: string, data: Uint8Array | string) => writeFile(join(folder, name), data);
const sha256 = (data: Uint8Array | string) => createHash('sha256').update(data).digest('hex');

describe('externalLocationsOf', () => {
  it('finds the files that initialisers name, and none in a model without', async () => {
    await put('model.onnx', externalDataModel('weights/a b.bin').model);
    expect(await externalLocationsOf(join(folder, 'model.onnx'))).toEqual(['weights/a b.bin']);
    for (const bytes of [sqrtModel(), loopModel()]) {
      await put('model.onnx', bytes);
      expect(await externalLocationsOf(join(folder, 'model.onnx'))).toEqual([]);
    }
  });

  it('gives what it found before the damage of a damaged file', async () => {
    const whole = Buffer.from(externalDataModel('w.bin').model);
    for (const damaged of [Buffer.alloc(0), Buffer.from('hello'), Buffer.alloc(64, 0xff), whole.subarray(0, 40)]) {
      await put('model.onnx', damaged);
      expect(await externalLocationsOf(join(folder, 'model.onnx'))).toEqual([]);
    }
  });
});

describe('readVersionFiles', () => {
  it('digests model.onnx alone, or with its external data', async () => {
    const plain = sqrtModel();
    await put('model.onnx', plain);
    expect((await readVersionFiles(folder)).digest).toBe(sha256(plain));
    const { model, data } = externalDataModel('w.bin');
    await put('model.onnx', model);
    await put('w.bin', data);
    const both = await readVersionFiles(folder);
    expect(both.digest).toBe(sha256(`${sha256(model)}  model.onnx\n${sha256(data)}  w.bin\n`));
    await put('w.bin', Buffer.from(data).fill(1));
    expect((await readVersionFiles(folder)).digest).not.toBe(both.digest);
  });

  it('refuses a version without model.onnx, and files outside of its folder', async () => {
    await expect(readVersionFiles(folder)).rejects.toThrow('model.onnx is missing');
    await writeFile(join(root, 'outside.onnx'), sqrtModel());
    await symlink('../../../outside.onnx', join(folder, 'model.onnx'));
    await expect(readVersionFiles(folder)).rejects.toThrow("'model.onnx' leads out of the version's folder");
    await rm(join(folder, 'model.onnx'));
    for (const location of ['../../../w.bin', '/etc/passwd', 'sub/../../w.bin']) {
      await put('model.onnx', externalDataModel(location).model);
      await expect(readVersionFiles(folder)).rejects.toThrow(`'${location}' leads out of the version's folder`);
    }
    await put('model.onnx', externalDataModel('link.bin').model);
    await symlink('/etc/passwd', join(folder, 'link.bin'));
    await expect(readVersionFiles(folder)).rejects.toThrow("'link.bin' leads out");
  });

  it('follows links that stay inside', async () => {
    await put('real.onnx', sqrtModel());
    await symlink('real.onnx', join(folder, 'model.onnx'));
    expect((await readVersionFiles(folder)).modelPath).toMatch(/real\.onnx$/);
  });
});

describe('isUntouched', () => {
  it('sees another size, time or inode', async () => {
    await put('model.onnx', sqrtModel());
    const files = await readVersionFiles(folder);
    expect(await isUntouched(files)).toBe(true);
    await utimes(join(folder, 'model.onnx'), 1, 1);
    expect(await isUntouched(files)).toBe(false);
    await rm(join(folder, 'model.onnx'));
    expect(await isUntouched(files)).toBe(false);
  });
});

describe('insidePath', () => {
  it('is null for what is not there', async () => {
    expect(await insidePath(folder, 'no/such.npy')).toBeNull();
    await expect(insidePath(folder, '..')).rejects.toThrow('leads out');
    await expect(insidePath(folder, '.')).rejects.toThrow('leads out');
    await expect(insidePath(folder, 'a\0b')).rejects.toThrow('leads out');
  });
});

describe('scanRepository', () => {
  it('finds <model>/<version>, versions as numbers, and leaves other entries alone', async () => {
    const repository = join(root, 'models');
    for (const path of ['m/10', 'm/9', 'm/latest', 'a.b-c/3', '.git/1', 'lost+found/1', 'empty']) {
      await mkdir(join(repository, path), { recursive: true });
    }
    await writeFile(join(repository, 'README.md'), '');
    const found = await scanRepository(repository);
    expect(found.map(({ name, version }) => `${name}/${version}`)).toEqual(['a.b-c/3', 'm/1', 'm/9', 'm/10']);
    expect((await scanRepository(repository, 'm')).map((one) => one.version)).toEqual(['1', '9', '10']);
    expect(await scanRepository(repository, 'nobody')).toEqual([]);
    await expect(scanRepository(join(root, 'nowhere'))).rejects.toMatchObject({
      hint: expect.stringContaining('Set WARMLANE_MODELS'),
    });
  });
});
