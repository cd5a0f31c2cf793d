import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import standaloneCode from 'ajv/dist/standalone/index.js'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('.', import.meta.url))

/** Source text (ESM, no imports) that takes the place of src/core/runtime/config-check.ts in the built product. */
export async function standaloneConfigCheck() {
  const { CONFIG, jsonSchemaOf } = await loadSchema()
  const ajv = new Ajv({ allErrors: true, code: { source: true, esm: true, optimize: 2 } })
  const code = standaloneCode.default(ajv, ajv.compile(jsonSchemaOf(CONFIG)))
  // Length and equality keywords would make ajv write require(), which an ES module does not have.
  if (/\brequire\(/.test(code)) throw new Error('a keyword in the configuration schema needs ajv at run time')

  return `${code}
export function checkConfig(data) {
  if (validate(data)) return []
  return validate.errors.map((error) => ({
    path: error.instancePath.split('/').slice(1).map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~')),
    rule: error.keyword,
    name: error.keyword === 'additionalProperties' ? error.params.additionalProperty : null,
  }))
}
`
}

async function loadSchema() {
  const entry = `
    export { CONFIG } from './src/core/contracts/config.ts'
    export { jsonSchemaOf } from './src/core/contracts/config-key.ts'`
  const bundle = await build({
    stdin: { contents: entry, resolveDir: root },
    bundle: true,
    write: false,
    format: 'esm',
    platform: 'node',
  })
  return import(
    `data:text/javascript;base64,${Buffer.from(bundle.outputFiles[0].contents).toString('base64')}`
  )
}
