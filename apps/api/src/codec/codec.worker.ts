import { parentPort } from 'node:worker_threads';
import { type CodecResult, type CodecTask, runCodecTask } from './codec-task.js';

/** Entry of a codec thread: one task after the other; the result's buffers are moved to the main thread, not copied. */
parentPort?.on('message', (task: CodecTask) => {
  const result = runCodecTask(task);
  parentPort?.postMessage(result, buffersOf(result));
});

function buffersOf(result: CodecResult): ArrayBuffer[] {
  if (!result.ok) return [];
  // A small Buffer lies in a slab that others share: it is copied. Everything large has a buffer of its own.
  const views = 'answer' in result ? [result.answer.body] : result.request.inputs.map((input) => input.data);
  const buffers = new Set<ArrayBuffer>();
  for (const { buffer } of views) {
    if (buffer instanceof ArrayBuffer && buffer.byteLength > Buffer.poolSize) buffers.add(buffer);
  }
  return [...buffers];
}
