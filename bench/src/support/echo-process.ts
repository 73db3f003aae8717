import { serveEcho } from './bare-echo.js';

/** The bare Fastify alone in its process; says its address over its channel. */
const { url } = await serveEcho();
process.on('disconnect', () => process.exit(0));
process.send?.(url);
