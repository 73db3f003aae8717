// Started as root: becomes another user and tries to read what root wrote.
import { readFileSync } from 'node:fs';

const [dir, library, owner, file] = process.argv.slice(2);
const { SharedMemory } = await import(library);
const NOBODY = 65_534;
process.setgroups([]);
process.setgid(NOBODY);
process.setuid(NOBODY);
const memory = new SharedMemory({ dir, limitBytes: null });
const codeOf = (read) => {
  try {
    read();
    return 'read';
  } catch (error) {
    return error.code;
  }
};
const ref = { owner, slot: 0, token: '0'.repeat(32), bytes: 100_000 };
const found = {
  file: codeOf(() => readFileSync(file)),
  slot: codeOf(() => memory.reader.readNow(ref)),
  proof: memory.proofFor(owner),
  own: (await memory.put(Buffer.alloc(100_000), 1_000)) !== null,
};
memory.close();
process.stdout.write(JSON.stringify(found));
