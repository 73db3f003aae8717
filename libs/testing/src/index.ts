export { type StartRedisOptions, startRedis, testRedisBinary } from './start-redis.js';
