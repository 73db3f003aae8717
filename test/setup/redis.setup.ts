import { testRedisBinary } from '@warmlane/testing';

/** Once before a project's files: Redis is unpacked if none is installed, so that files in parallel find it there. */
export async function setup(): Promise<void> {
  await testRedisBinary();
}
