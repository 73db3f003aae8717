import { Ajv, type JSONSchemaType } from 'ajv';

/**
 * Answers of the Open Inference Protocol, after the component schemas of its REST specification and the statistics and
 * repository extensions of Triton's documentation. Additional properties are allowed there unless said otherwise.
 */
const DATATYPES = [
  'BOOL',
  'UINT8',
  'UINT16',
  'UINT32',
  'UINT64',
  'INT8',
  'INT16',
  'INT32',
  'INT64',
  'FP16',
  'FP32',
  'FP64',
  'BYTES',
  'BF16',
];

const tensorMetadata = {
  type: 'object',
  required: ['name', 'datatype', 'shape'],
  properties: {
    name: { type: 'string' },
    datatype: { enum: DATATYPES },
    shape: { type: 'array', items: { type: 'integer', minimum: -1 } },
  },
};

const duration = {
  type: 'object',
  required: ['count', 'ns'],
  properties: { count: { type: 'integer', minimum: 0 }, ns: { type: 'integer', minimum: 0 } },
};

const object = (required: string[], properties: Record<string, unknown>) => ({ type: 'object', required, properties });

const SCHEMAS = {
  server: object(['name', 'version', 'extensions'], {
    name: { type: 'string' },
    version: { type: 'string' },
    extensions: { type: 'array', items: { type: 'string' } },
  }),
  model: object(['name', 'platform', 'inputs', 'outputs'], {
    name: { type: 'string' },
    versions: { type: 'array', items: { type: 'string', pattern: '^[0-9]+$' } },
    platform: { type: 'string' },
    inputs: { type: 'array', items: tensorMetadata },
    outputs: { type: 'array', items: tensorMetadata },
  }),
  ready: object(['name', 'ready'], { name: { type: 'string' }, ready: { const: true } }),
  infer: object(['model_name', 'outputs'], {
    id: { type: 'string' },
    model_name: { type: 'string' },
    model_version: { type: 'string' },
    parameters: { type: 'object' },
    outputs: {
      type: 'array',
      items: object(['name', 'shape', 'datatype'], {
        name: { type: 'string' },
        shape: { type: 'array', items: { type: 'integer', minimum: 0 } },
        datatype: { enum: DATATYPES },
        parameters: { type: 'object' },
        data: { type: 'array' },
      }),
    },
  }),
  error: { ...object(['error'], { error: { type: 'string', minLength: 1 } }) },
  index: {
    type: 'array',
    items: object(['name', 'version', 'state', 'reason'], {
      name: { type: 'string' },
      version: { type: 'string' },
      state: { enum: ['READY', 'UNAVAILABLE', 'LOADING', 'UNLOADING'] },
      reason: { type: 'string' },
    }),
  },
  config: object(['name', 'platform', 'max_batch_size', 'input', 'output'], {
    name: { type: 'string' },
    max_batch_size: { type: 'integer' },
    input: {
      type: 'array',
      items: object(['name', 'data_type', 'dims'], {
        data_type: { type: 'string', pattern: '^TYPE_[A-Z0-9]+$' },
        dims: { type: 'array', items: { type: 'integer' } },
      }),
    },
  }),
  statistics: object(['model_stats'], {
    model_stats: {
      type: 'array',
      items: object(
        ['name', 'version', 'last_inference', 'inference_count', 'execution_count', 'inference_stats', 'batch_stats'],
        {
          name: { type: 'string' },
          version: { type: 'string' },
          last_inference: { type: 'integer', minimum: 0 },
          inference_count: { type: 'integer', minimum: 0 },
          execution_count: { type: 'integer', minimum: 0 },
          inference_stats: object(
            ['success', 'fail', 'queue', 'compute_input', 'compute_infer', 'compute_output', 'cache_hit', 'cache_miss'],
            Object.fromEntries(
              [
                'success',
                'fail',
                'queue',
                'compute_input',
                'compute_infer',
                'compute_output',
                'cache_hit',
                'cache_miss',
              ].map((name) => [name, duration]),
            ),
          ),
          batch_stats: {
            type: 'array',
            items: object(['batch_size', 'compute_input', 'compute_infer', 'compute_output'], {
              batch_size: { type: 'integer', minimum: 1 },
              compute_input: duration,
              compute_infer: duration,
              compute_output: duration,
            }),
          },
          memory_usage: {
            type: 'array',
            items: object(['type', 'id', 'byte_size'], {
              type: { enum: ['CPU', 'CPU_PINNED', 'GPU'] },
              id: { type: 'integer', minimum: 0 },
              byte_size: { type: 'integer', minimum: 0 },
            }),
          },
        },
      ),
    },
  }),
} satisfies Record<string, unknown>;

const ajv = new Ajv({ allErrors: true, strictTypes: false });

/** What is wrong with an answer; empty where it follows the protocol. */
export function violations(schema: keyof typeof SCHEMAS, answer: unknown): string {
  const validate = ajv.compile(SCHEMAS[schema] as unknown as JSONSchemaType<unknown>);
  return validate(answer) ? '' : ajv.errorsText(validate.errors);
}
