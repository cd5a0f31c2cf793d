import { Ajv, type ValidateFunction } from 'ajv'
import { CONFIG } from '../contracts/config.ts'
import { jsonSchemaOf } from '../contracts/config-key.ts'

/**
 * The build replaces this file by precompiled code with the same export (build-standalone.mjs),
 * because loading ajv and compiling the schema costs more than everything else at start-up.
 */

export interface CheckError {
  /** The keys and list positions that lead to the value. */
  path: string[]
  /** The JSON Schema keyword that was not met. */
  rule: string
  /** The unknown key, for additionalProperties. */
  name: string | null
}

let validate: ValidateFunction | undefined

/** Everything wrong with a configuration, whole or partial, before the defaults are laid under it. */
export function checkConfig(data: unknown): CheckError[] {
  validate ??= new Ajv({ allErrors: true }).compile(jsonSchemaOf(CONFIG))
  if (validate(data)) return []

  return (validate.errors ?? []).map((error) => ({
    path: error.instancePath
      .split('/')
      .slice(1)
      .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~')),
    rule: error.keyword,
    name: error.keyword === 'additionalProperties' ? error.params.additionalProperty : null,
  }))
}
