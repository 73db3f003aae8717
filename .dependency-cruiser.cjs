/** Layers, as docs/architecture.md draws them. A rule here is the boundary; there is no second list. */
const only = (from, allowed) => ({
  name: `${from.replace(/[/]/g, '-')}-imports-only`,
  severity: 'error',
  from: { path: `^${from}/`, pathNot: '[.]spec[.]ts$' },
  to: { path: '^(libs|apps)/', pathNot: `^(${[from, ...allowed].join('|')})/` },
});
module.exports = {
  forbidden: [
    { name: 'no-cycles', severity: 'error', from: {}, to: { circular: true } },
    { name: 'not-resolvable', severity: 'error', from: {}, to: { couldNotResolve: true } },
    only('libs/contracts', []),
    only('libs/ipc', ['libs/contracts']),
    only('libs/redis', ['libs/contracts']),
    only('libs/lanes', ['libs/contracts']),
    only('libs/ort', ['libs/contracts']),
    only('libs/observability', ['libs/contracts']),
    only('libs/process', []),
    only('libs/queues', ['libs/contracts', 'libs/redis']),
    only('apps/api', [
      'libs/contracts',
      'libs/redis',
      'libs/queues',
      'libs/lanes',
      'libs/observability',
      'libs/process',
    ]),
    only('apps/reference', ['libs/contracts', 'libs/ipc', 'libs/observability', 'libs/process']),
    only('apps/runtime', ['libs/contracts', 'libs/ipc', 'libs/ort', 'libs/observability', 'libs/process']),
    only('apps/worker', [
      'libs/contracts',
      'libs/ipc',
      'libs/redis',
      'libs/queues',
      'libs/lanes',
      'libs/ort',
      'libs/observability',
      'libs/process',
    ]),
    only('apps/cli', ['libs/contracts', 'libs/redis', 'libs/queues', 'libs/ort', 'libs/observability', 'libs/process']),
    {
      // Loading a broken native library may end the process: only a program of its own does it.
      name: 'cli-loads-ort-in-its-probe',
      severity: 'error',
      from: { path: '^apps/cli/', pathNot: '/ort-probe[.]main[.]ts$' },
      to: { path: '^libs/ort/' },
    },
    {
      name: 'testing-is-for-tests',
      severity: 'error',
      from: { path: '^(libs|apps)/', pathNot: '[.]spec[.]ts$|^libs/testing/' },
      to: { path: '^libs/testing/' },
    },
    {
      name: 'reference-never-koffi',
      severity: 'error',
      from: { path: '^(apps/reference|apps/api|libs/(contracts|ipc|redis|queues|lanes|observability|process))/' },
      to: { path: 'node_modules/koffi' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    exclude: { path: '/dist/' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.paths.json' },
    enhancedResolveOptions: {
      exportsFields: ['exports'],
      conditionNames: ['import', 'types', 'default'],
      mainFields: ['main'],
    },
  },
};
