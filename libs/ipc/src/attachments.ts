import { WarmlaneError } from '@warmlane/contracts';

/** Where an attachment belongs in a JSON value: property names and indices from the root. */
export type AttachmentPath = (string | number)[];

export interface Detached {
  /** The value with `null` in place of each Uint8Array; parts without any are not copied. */
  value: unknown;
  paths: AttachmentPath[];
  attachments: Uint8Array[];
}

/** Takes every Uint8Array out of a JSON-like value. */
export function detach(value: unknown): Detached {
  const paths: AttachmentPath[] = [];
  const attachments: Uint8Array[] = [];
  const stack: AttachmentPath = [];
  const walk = (node: unknown): unknown => {
    if (typeof node !== 'object' || node === null) return node;
    if (node instanceof Uint8Array) {
      paths.push([...stack]);
      attachments.push(node);
      return null;
    }
    return Array.isArray(node) ? walkArray(node) : walkObject(node);
  };
  const walkArray = (node: unknown[]): unknown[] => {
    let copy: unknown[] | null = null;
    for (let at = 0; at < node.length; at++) {
      const item = node[at];
      if (typeof item !== 'object' || item === null) continue;
      stack.push(at);
      const bare = walk(item);
      stack.pop();
      if (bare === item) continue;
      copy ??= [...node];
      copy[at] = bare;
    }
    return copy ?? node;
  };
  const walkObject = (node: object): object => {
    let copy: Record<string, unknown> | null = null;
    for (const [key, item] of Object.entries(node)) {
      if (typeof item !== 'object' || item === null) continue;
      stack.push(key);
      const bare = walk(item);
      stack.pop();
      if (bare === item) continue;
      copy ??= { ...node };
      copy[key] = bare;
    }
    return copy ?? node;
  };
  return { value: walk(value), paths, attachments };
}

/** The inverse of {@link detach}; changes `value` in place. Throws `internal` where a path leads nowhere. */
export function attach(value: unknown, paths: readonly AttachmentPath[], attachments: readonly Uint8Array[]): unknown {
  if (paths.length !== attachments.length)
    throw misplaced(`${paths.length} places for ${attachments.length} attachments`);
  let root = value;
  paths.forEach((path, at) => {
    const part = attachments[at];
    const last = path.at(-1);
    if (last === undefined) {
      root = part;
      return;
    }
    let node: unknown = root;
    for (const key of path.slice(0, -1)) node = child(node, key);
    if (typeof node !== 'object' || node === null || !Object.hasOwn(node, last)) throw misplaced(path.join('.'));
    Object.assign(node, { [last]: part });
  });
  return root;
}

function child(node: unknown, key: string | number): unknown {
  if (typeof node !== 'object' || node === null || !Object.hasOwn(node, key)) throw misplaced(String(key));
  return (node as Record<string | number, unknown>)[key];
}

function misplaced(what: string): WarmlaneError {
  return new WarmlaneError(
    'internal',
    `message between processes: an attachment has no place (${what})`,
    'The peer is broken: restart it.',
  );
}
