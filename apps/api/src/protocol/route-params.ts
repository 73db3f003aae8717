import { NotFoundException } from '@nestjs/common';
import { isVersion } from '@warmlane/contracts';

/** The version of a path, null where the path has none. A version that is no number has no route, as in Triton: 404. */
export function checkVersion(version: string | undefined): string | null {
  if (version === undefined) return null;
  if (!isVersion(version)) throw new NotFoundException('Not Found');
  return version;
}
