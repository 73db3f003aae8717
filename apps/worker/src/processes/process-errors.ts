import { WarmlaneError } from '@warmlane/contracts';

/** How one life of a child process ended. */
export interface Death {
  /** Null where the process exited by itself. */
  signal: NodeJS.Signals | null;
  code: number | null;
  /** SIGKILL or SIGTERM that this worker did not send: somebody's hand or the kernel's, not the child's fault. */
  external: boolean;
  /** This worker wanted another life of it ({@link SupervisedProcess.renew}). */
  planned: boolean;
  /** A request was being run or waited for its run, and no other call's limit was what ended the process. */
  serving: boolean;
  /** For people: `killed from outside (SIGKILL)`, `'lane.run' was not answered within 3000 ms`, `exit code 70`. */
  reason: string;
  /** Time from the start of the process to its end. */
  uptimeMs: number;
}

/** The child process died, or had to be killed, while this call was in flight. */
export class RuntimeDied extends WarmlaneError {
  readonly signal: NodeJS.Signals | null;
  readonly exitCode: number | null;
  readonly external: boolean;

  constructor(
    readonly processName: string,
    readonly death: Death,
  ) {
    super('worker-gone', `the ${processName} process ended: ${death.reason}`, 'It is started again: retry.');
    this.name = 'RuntimeDied';
    this.signal = death.signal;
    this.exitCode = death.code;
    this.external = death.external;
  }
}
