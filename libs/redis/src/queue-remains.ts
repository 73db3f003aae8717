/** How BullMQ names what it keeps of a queue, behind `<prefix>:<queue>:`. */

/** Jobs that have not ended: each key vanishes with its last job. */
export const OPEN_JOBS = ['wait', 'active', 'paused', 'prioritized', 'delayed', 'waiting-children'] as const;

/** What is left of a queue without jobs. */
export const QUEUE_REMAINS = [
  'meta',
  'id',
  'pc',
  'events',
  'marker',
  'stalled',
  'stalled-check',
  'repeat',
  'limiter',
] as const;
