import { isIP } from 'node:net';

/** Where the API listens. */
export interface HttpAddress {
  /** As given, without brackets: `127.0.0.1`, `::1`, `localhost`. */
  host: string;
  port: number;
}

/** Reads `HOST:PORT` (an IPv6 host in brackets); null where it is something else. Port 0 stands for a free one. */
export function parseAddress(text: string): HttpAddress | null {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+)):(\d{1,5})$/.exec(text);
  if (match === null) {
    return null;
  }
  const port = Number(match[3]);
  const [, ipv6, name] = match;
  if (port > 65_535 || (ipv6 !== undefined && isIP(ipv6) !== 6)) {
    return null;
  }
  return { host: ipv6 ?? name ?? '', port };
}

/** `HOST:PORT`, the inverse of {@link parseAddress}. */
export function printAddress(address: HttpAddress): string {
  return `${address.host.includes(':') ? `[${address.host}]` : address.host}:${address.port}`;
}

/** Whether only this machine can reach it. */
export function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** An address on which this machine itself reaches a server that listens on `address`. */
export function reachableAddress(address: HttpAddress): HttpAddress {
  if (address.host === '0.0.0.0') {
    return { host: '127.0.0.1', port: address.port };
  }
  return address.host === '::' ? { host: '::1', port: address.port } : address;
}
