import { WarmlaneError } from './errors.js';

/** A parsed crop rule, for example `ceil(d/8)`. */
export interface CropExpression {
  /** As it was written. */
  text: string;
  /**
   * The output's size for an unpadded size `d` of the padded axis. Throws `bad-request` where that is no whole number
   * from 0 up: the rule lacks a `ceil` or `floor`, or divides by zero.
   */
  sizeFor(d: number): number;
}

type Term = (d: number) => number;

const TOKEN = /\s*([0-9]+|ceil|floor|d|[-+*/()])/y;
const MAX_LENGTH = 200;

/**
 * Parses integers, `d`, `+ - * /`, parentheses, `ceil(...)` and `floor(...)`; nothing else, so that a configuration
 * cannot run code. Throws `bad-request` that says where it stopped.
 */
export function parseCrop(text: string): CropExpression {
  if (text.length > MAX_LENGTH) throw refused(text, `longer than ${MAX_LENGTH} characters`);
  const parser = new Parser(text, tokensOf(text));
  const term = parser.sum();
  parser.end();
  return {
    text,
    sizeFor: (d) => {
      const size = term(d);
      if (Number.isSafeInteger(size) && size >= 0) return size;
      throw new WarmlaneError(
        'bad-request',
        `crop '${text}' gives ${size} for d=${d}, which is no size`,
        'Round with ceil or floor, for example ceil(d/8).',
      );
    },
  };
}

function tokensOf(text: string): string[] {
  const tokens: string[] = [];
  TOKEN.lastIndex = 0;
  const end = text.trimEnd().length;
  while (TOKEN.lastIndex < end) {
    const at = TOKEN.lastIndex;
    const token = TOKEN.exec(text)?.[1];
    if (token === undefined) throw refused(text, `'${text.slice(at).trim()}' is not understood`);
    tokens.push(token);
  }
  return tokens;
}

class Parser {
  private at = 0;

  constructor(
    private readonly text: string,
    private readonly tokens: readonly string[],
  ) {}

  sum(): Term {
    let left = this.product();
    for (let sign = this.takeOne('+', '-'); sign !== null; sign = this.takeOne('+', '-')) {
      const [a, b] = [left, this.product()];
      left = sign === '+' ? (d) => a(d) + b(d) : (d) => a(d) - b(d);
    }
    return left;
  }

  end(): void {
    const rest = this.tokens[this.at];
    if (rest !== undefined) throw refused(this.text, `'${rest}' stands where the rule should end`);
  }

  private product(): Term {
    let left = this.factor();
    for (let sign = this.takeOne('*', '/'); sign !== null; sign = this.takeOne('*', '/')) {
      const [a, b] = [left, this.factor()];
      left = sign === '*' ? (d) => a(d) * b(d) : (d) => a(d) / b(d);
    }
    return left;
  }

  private factor(): Term {
    const token = this.tokens[this.at];
    this.at += 1;
    if (token === undefined) throw refused(this.text, 'it ends too early');
    if (token === 'd') return (d) => d;
    if (token === '-') {
      const negated = this.factor();
      return (d) => -negated(d);
    }
    if (token === '(') return this.closed();
    if (token === 'ceil' || token === 'floor') {
      if (this.takeOne('(') === null) throw refused(this.text, `'(' is missing after ${token}`);
      const inner = this.closed();
      return token === 'ceil' ? (d) => Math.ceil(inner(d)) : (d) => Math.floor(inner(d));
    }
    if (!/^[0-9]+$/.test(token)) throw refused(this.text, `'${token}' stands where a number or d should`);
    const value = Number(token);
    if (!Number.isSafeInteger(value)) throw refused(this.text, `${token} is too large`);
    return () => value;
  }

  private closed(): Term {
    const inner = this.sum();
    if (this.takeOne(')') === null) throw refused(this.text, "')' is missing");
    return inner;
  }

  private takeOne(...wanted: string[]): string | null {
    const token = this.tokens[this.at];
    if (token === undefined || !wanted.includes(token)) return null;
    this.at += 1;
    return token;
  }
}

function refused(text: string, why: string): WarmlaneError {
  return new WarmlaneError(
    'bad-request',
    `crop '${text}': ${why}`,
    'Use integers, d (the unpadded size), + - * /, parentheses, ceil and floor, for example ceil(d/8).',
  );
}
