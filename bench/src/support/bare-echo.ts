import { fork } from 'node:child_process';
import { once } from 'node:events';
import fastify from 'fastify';
import { Pool } from 'undici';

const BODY_LIMIT = 64 * 2 ** 20;

/** A bare Fastify that sends back the body it got. */
export async function serveEcho() {
  const app = fastify({ bodyLimit: BODY_LIMIT });
  app.addContentTypeParser('application/octet-stream', { parseAs: 'buffer' }, (_request, body, done) =>
    done(null, body),
  );
  app.post('/echo', (request, reply) => reply.type('application/octet-stream').send(request.body));
  const url = await app.listen({ host: '127.0.0.1', port: 0 });
  return { url, close: () => app.close() };
}

export interface Echo {
  send(body: Buffer): Promise<Buffer>;
  close(): Promise<void>;
}

/** In this process: client and server take turns on one thread. */
export async function echoHere(): Promise<Echo> {
  const { url, close } = await serveEcho();
  return echoOf(url, close);
}

/** In a process of its own, as the API is: client and server work at the same time. */
export async function echoApart(): Promise<Echo> {
  const child = fork(new URL('./echo-process.js', import.meta.url));
  const [url] = (await once(child, 'message')) as [string];
  return echoOf(url, async () => {
    child.kill('SIGKILL');
    await once(child, 'exit');
  });
}

function echoOf(url: string, stop: () => Promise<void>): Echo {
  const pool = new Pool(url, { connections: 1 });
  return {
    async send(body) {
      const headers = { 'content-type': 'application/octet-stream' };
      const answer = await pool.request({ path: '/echo', method: 'POST', headers, body });
      return Buffer.from(await answer.body.arrayBuffer());
    },
    async close() {
      await pool.close();
      await stop();
    },
  };
}
