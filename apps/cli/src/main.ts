import { Command } from 'commander';

const program = new Command('warmlane').description('Keeps ONNX Runtime models warm, shape by shape, and serves them.');

await program.parseAsync();
