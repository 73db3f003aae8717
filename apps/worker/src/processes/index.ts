export { DeathLedger } from './death-ledger.js';
export { disposableRuntime } from './disposable-runtime.js';
export { type Death, RuntimeDied } from './process-errors.js';
export { ReferenceProcess } from './reference-process.js';
export { type RuntimeDevice, RuntimeProcess, type RuntimeProgramOptions } from './runtime-process.js';
