import type { PlanEntry } from '@warmlane/contracts';
import { z } from 'zod';

/** One shape as warmlane.yaml declares it. */
export interface DeclaredShape {
  shapeKey: string;
  replicas: number;
  /** 0 first. */
  priority: number;
  required: boolean;
}

const declaredSchema = z.object({
  replicas: z.number().int(),
  priority: z.number().int(),
  required: z.boolean(),
  addedAt: z.string(),
});

const namedSchema = z.object({
  id: z.string(),
  /** null: not given. */
  replicas: z.number().int().nullable(),
  priority: z.number().int(),
  options: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  tune: z.boolean().default(false),
  addedAt: z.string(),
});

/** How a warm-up names a shape. */
export type NamedShape = z.infer<typeof namedSchema>;
type Declared = z.infer<typeof declaredSchema>;

/** Lowest urgency: what the yaml declares waits for what a warm-up asks for by default (5). */
export const DECLARED_PRIORITY = 5;

export function encodeDeclared(shape: DeclaredShape, addedAt: string): string {
  return JSON.stringify({
    replicas: shape.replicas,
    priority: shape.priority,
    required: shape.required,
    addedAt,
  } satisfies Declared);
}

export function encodeNamed(named: NamedShape): string {
  return JSON.stringify(named satisfies NamedShape);
}

interface Collected {
  declared: Declared | null;
  /** By the plan's revision, the latest last. */
  named: { revision: number; shape: NamedShape }[];
  held: string[];
}

/**
 * Fields of a plan's hash -> its entries, by shape key. Fields are `<kind> <shape>[ <id>]`: shape keys hold no white
 * space, so no script has to take JSON apart. The warm-up that named a shape last decides its options and priority, and
 * its replicas where it gave them.
 */
export function foldPlan(fields: Record<string, string>): PlanEntry[] {
  const shapes = new Map<string, Collected>();
  for (const [field, value] of Object.entries(fields)) {
    const [kind = '', shapeKey, id = ''] = field.split(' ');
    if (shapeKey === undefined) continue;
    let shape = shapes.get(shapeKey);
    if (shape === undefined) {
      shape = { declared: null, named: [], held: [] };
      shapes.set(shapeKey, shape);
    }
    if (kind === 'h') shape.held.push(id);
    else if (kind === 'd') shape.declared = declaredSchema.parse(JSON.parse(afterRevision(value).json));
    else {
      const { revision, json } = afterRevision(value);
      shape.named.push({ revision, shape: namedSchema.parse(JSON.parse(json)) });
    }
  }
  return Array.from(shapes)
    .filter(([, shape]) => shape.declared !== null || shape.named.length > 0)
    .map(([shapeKey, shape]) => toEntry(shapeKey, shape))
    .sort((a, b) => (a.shapeKey < b.shapeKey ? -1 : 1));
}

function toEntry(shapeKey: string, { declared, named, held }: Collected): PlanEntry {
  named.sort((a, b) => a.revision - b.revision);
  const last = named.at(-1)?.shape;
  const replicas = named.map((one) => one.shape.replicas).findLast((count) => count !== null);
  const addedAt = [...named.map((one) => one.shape.addedAt), ...(declared === null ? [] : [declared.addedAt])];
  return {
    shapeKey,
    declared: declared !== null,
    warmups: Array.from(new Set(named.map((one) => one.shape.id))),
    replicas: replicas ?? declared?.replicas ?? 1,
    priority: last?.priority ?? declared?.priority ?? DECLARED_PRIORITY,
    required: declared?.required ?? false,
    options: last?.options ?? {},
    tune: last?.tune ?? false,
    addedAt: addedAt.sort()[0] ?? '',
    held: held.sort(),
  };
}

function afterRevision(value: string): { revision: number; json: string } {
  const space = value.indexOf(' ');
  return { revision: Number(value.slice(0, space)), json: value.slice(space + 1) };
}
