import type { OpenAPIObject } from '@nestjs/swagger';
import {
  ERROR_CODES,
  type ErrorCode,
  laneDocSchema,
  tuningViewSchema,
  warmupStateSchema,
  warmupViewSchema,
  workerDocSchema,
} from '@warmlane/contracts';
import { z } from 'zod';
import { isProtocol } from '../http/error.filter.js';

type PathItem = OpenAPIObject['paths'][string];
type Operation = NonNullable<PathItem['get']>;
type JsonSchema = Extract<NonNullable<OpenAPIObject['components']>['schemas'], object>[string];

const METHODS = ['get', 'post', 'delete'] as const;

/** Answers by method and path, with the status that carries them. */
const ANSWERS: Record<string, [status: string, schema: z.ZodType]> = {
  'get /v1/lanes': ['200', z.object({ lanes: z.array(laneDocSchema) })],
  'get /v1/workers': [
    '200',
    z.object({ workers: z.array(workerDocSchema.omit({ pid: true, environment: true, models: true })) }),
  ],
  'get /v1/tunings': ['200', z.object({ tunings: z.array(tuningViewSchema) })],
  'post /v1/models/{model}/versions/{version}/warmups': [
    '202',
    z.object({ id: z.string(), state: warmupStateSchema, total: z.number().int(), reason: z.string() }),
  ],
  'get /v1/warmups/{id}': ['200', warmupViewSchema],
  'delete /v1/warmups/{id}': ['200', warmupViewSchema],
  'post /v1/models/{model}/versions/{version}/infer': ['202', z.object({ id: z.string() })],
};

const ERROR = z.object({
  error: z.object({
    code: z.enum(Object.keys(ERROR_CODES) as [ErrorCode, ...ErrorCode[]]),
    message: z.string(),
    hint: z.string(),
    retryable: z.boolean(),
  }),
});
const PROTOCOL_ERROR = z.object({ error: z.string() });

function jsonSchema(schema: z.ZodType): JsonSchema {
  const { $schema: _dialect, ...rest } = z.toJSONSchema(schema, { target: 'openapi-3.0', unrepresentable: 'any' });
  return rest as JsonSchema;
}

const content = (schema: z.ZodType) => ({ 'application/json': { schema: jsonSchema(schema) } });

/** Adds the forms of answers and errors to every operation. */
export function describeAnswers(document: OpenAPIObject): OpenAPIObject {
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of METHODS) {
      const operation = item[method];
      if (operation !== undefined) describe(operation, path, method);
    }
  }
  return document;
}

function describe(operation: Operation, path: string, method: string): void {
  const answer = ANSWERS[`${method} ${path}`];
  if (answer !== undefined) {
    const [status, schema] = answer;
    operation.responses[status] = { description: '', content: content(schema) };
  }
  operation.responses.default = {
    description: 'Any error; its code is in the header warmlane-error as well',
    content: content(isProtocol(path) ? PROTOCOL_ERROR : ERROR),
  };
}
