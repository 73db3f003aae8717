// Run in a mount namespace with a tmpfs of 64 MB: slots until it is full, whatever the limit says.
import { statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [dir, library] = process.argv.slice(2);
const { SharedMemory } = await import(library);
const warnings = [];
const log = { warn: (details) => warnings.push(details.error) };
const LONG_MS = 60_000;
const tensor = (value, bytes) => Buffer.alloc(bytes, value);

const greedy = new SharedMemory({ dir, limitBytes: 2 ** 30, log });
const refs = [];
for (let value = 1; value <= 7; value += 1) refs.push(await greedy.put(tensor(value, 10_000_000), LONG_MS));
const whole = refs.map((ref, at) => ref !== null && greedy.reader.readNow(ref).equals(tensor(at + 1, 10_000_000)));
const now = greedy.putNow(tensor(9, 10_000_000), LONG_MS) !== null;
greedy.close();

const modest = new SharedMemory({ dir, limitBytes: null, log });
const fitting = [];
for (let value = 1; value <= 5; value += 1)
  fitting.push((await modest.put(tensor(value, 4_000_000), LONG_MS)) !== null);
const modestBytes = modest.bytes;
modest.close();

// Somebody else fills it: slots that are there go on.
const kept = new SharedMemory({ dir, limitBytes: null, log });
const first = await kept.put(tensor(1, 1_000_000), LONG_MS);
const { bsize, bavail } = statfsSync(dir);
writeFileSync(join(dir, 'filler'), Buffer.alloc(bsize * bavail));
kept.free(first);
const second = await kept.put(tensor(2, 900_000), LONG_MS);
const again = second?.slot === first.slot && kept.reader.readNow(second).equals(tensor(2, 900_000));
const third = await kept.put(tensor(3, 1_000_000), LONG_MS);
kept.close();

process.stdout.write(
  JSON.stringify({ whole, now, fitting, modestBytes, again, third: third !== null, warnings: [...new Set(warnings)] }),
);
