import { Socket } from 'node:net';

/**
 * A child started with a lifeline has a pipe on this descriptor whose other end only its parent holds: it closes when the
 * parent ends, however it ends (SIGKILL too).
 */
export const LIFELINE_FD = 3;

/** Tells a child, as `WARMLANE_LIFELINE_FD`, that it has a lifeline. */
export const LIFELINE_ENV = 'WARMLANE_LIFELINE_FD';

/**
 * Exit code of a process whose settings cannot work, so that starting it again is of no use (EX_CONFIG of sysexits.h).
 * `serve` gives up on a child that ends so before it was ready.
 */
export const EXIT_CONFIG = 78;

/**
 * Calls `onLost` once when the parent's end of the lifeline closes. The watch does not keep the process alive.
 * @param fd the value of `WARMLANE_LIFELINE_FD`, as a number
 * @throws when the descriptor is not a pipe or socket
 */
export function watchLifeline(fd: number, onLost: () => void): void {
  const socket = new Socket({ fd, readable: true, writable: false });
  let lost = false;
  const notify = (): void => {
    if (!lost) {
      lost = true;
      onLost();
    }
  };
  // A reset instead of an end says the same: the parent is gone.
  socket.on('error', notify);
  socket.on('close', notify);
  socket.on('end', notify);
  socket.resume();
  socket.unref();
}
