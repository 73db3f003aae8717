import type { OpenAPIObject } from '@nestjs/swagger';

type Operation = NonNullable<OpenAPIObject['paths'][string]['post']>;

const TENSOR = {
  type: 'object',
  required: ['name', 'datatype', 'shape'],
  properties: {
    name: { type: 'string' },
    datatype: { type: 'string', description: 'BOOL, UINT8..UINT64, INT8..INT64, FP16, FP32, FP64, BF16 or BYTES' },
    shape: { type: 'array', items: { type: 'integer' } },
    data: { type: 'array', items: {}, description: 'Flat or nested, row-major; up to 4 MiB' },
    parameters: { type: 'object', description: 'binary_data_size: this many raw bytes follow the JSON' },
  },
};

const INFERENCE = {
  type: 'object',
  required: ['inputs'],
  properties: {
    id: { type: 'string', description: 'Echoed' },
    inputs: { type: 'array', items: TENSOR },
    outputs: {
      type: 'array',
      items: { type: 'object', properties: { name: { type: 'string' }, parameters: { type: 'object' } } },
    },
    parameters: { type: 'object', description: 'binary_data_output, timeout (microseconds), priority (0 to 9)' },
  },
};

const HEADERS = [
  ['inference-header-content-length', 'Bytes of the JSON, where raw tensors follow it; 0: the body is one raw tensor'],
  ['warmlane-deadline-ms', 'From acceptance, 1 to 3,600,000'],
  ['warmlane-priority', '0 to 9, 0 first'],
  ['idempotency-key', 'The same body gets the same answer for 60 s'],
] as const;

/** Adds what the controllers of raw bodies cannot say by their types: the form of an inference and its headers. */
export function describeBodies(document: OpenAPIObject): OpenAPIObject {
  for (const [path, item] of Object.entries(document.paths)) {
    if (item.post !== undefined && path.endsWith('/infer')) describeInference(item.post);
  }
  return document;
}

function describeInference(operation: Operation): void {
  operation.requestBody = {
    required: true,
    content: {
      'application/json': { schema: INFERENCE },
      'application/octet-stream': { schema: { type: 'string', format: 'binary' } },
    },
  };
  operation.parameters = [
    ...(operation.parameters ?? []),
    ...HEADERS.map(([name, description]) => ({
      name,
      in: 'header' as const,
      description,
      required: false,
      schema: { type: 'string' as const },
    })),
  ];
}
