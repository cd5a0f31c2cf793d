import { CONFIG, type Config } from '../contracts/config.ts'
import { type Group, isKey, isTable, type Placed, pathText } from '../contracts/config-key.ts'
import { SyncError } from '../domain/errors.ts'
import { absolutePath, type Lookup, readConfigFile } from './config-file.ts'
import { type Layer, type Origin, type Tree, valueAt } from './config-layer.ts'
import { presetLayer } from './config-preset.ts'
import { type Problem, problemsIn } from './config-problem.ts'
import { brokenRules } from './config-rules.ts'
import { exposedSecret, findSecret } from './config-secret.ts'
import { envLayer, flagLayer, strangersIn } from './config-text.ts'
import { tomlLayer } from './config-toml.ts'

export interface LoadedConfig {
  config: Config
  /** By TOML path. */
  origins: Record<string, Origin>
  file: string | null
  warnings: string[]
}

export interface ConfigRequest extends Lookup {
  /** By TOML path; what is undefined was not given. */
  flags?: Record<string, unknown>
}

/** Flags > environment > file > preset > defaults, checked and frozen. Throws `config` with the first problem and the number of the others. */
export function loadConfig(request: ConfigRequest): LoadedConfig {
  const { loaded, problems } = inspectConfig(request)
  if (loaded) return loaded

  const [first, ...others] = problems
  const more =
    others.length === 0 ? '' : ` (and ${others.length} more problem${others.length === 1 ? '' : 's'})`
  throw new SyncError('config', `${first?.text}${more}`, {
    ...(first?.hint !== undefined && { hint: first.hint }),
    cause: first?.cause,
  })
}

/** The same, with every problem as a value: what `config validate` shows. */
export function inspectConfig(request: ConfigRequest): { loaded: LoadedConfig | null; problems: Problem[] } {
  const problems: Problem[] = []
  const layers = [flagLayer(request.flags ?? {}, request.cwd), envLayer(request)]
  const file = readConfigFile(request)
  if (file && 'text' in file) problems.push(file)
  if (file && 'tree' in file) {
    const layer = tomlLayer(file, problems)
    const exposed = exposedSecret(file, layer)
    if (exposed) problems.push(exposed)
    layers.push(layer)
  }
  const wrong = layers.toReversed().flatMap(problemsIn)
  problems.push(...wrong)
  // Of a file that cannot be read nobody knows what it would have said.
  if (file && 'text' in file) return { loaded: null, problems }

  const wrongKeys = wrong.flatMap(({ at }) => at ?? [])
  const settled = settle([...layers, ...presetLayer(layers)], request.env, wrongKeys)
  problems.push(...settled.problems)
  problems.push(...brokenRules(settled.config, settled.origins, wrongKeys))
  if (problems.length > 0) return { loaded: null, problems }

  const { config, origins, named, warnings } = settled
  warnings.push(...strangersIn(request.env, named))
  return {
    loaded: { config: frozen(config), origins, file: file && 'tree' in file ? file.path : null, warnings },
    problems,
  }
}

/** Takes each key from the first layer that has it; of a wrong one, the default. */
function settle(layers: Layer[], env: Lookup['env'], wrong: readonly string[]) {
  const origins: Record<string, Origin> = {}
  const problems: Problem[] = []
  const warnings: string[] = []
  const named = new Set<string>()

  const config = group(CONFIG, []) as unknown as Config
  return { config, origins, problems, warnings, named }

  function group(node: Group, path: readonly string[]): Tree {
    const fresh: Tree = {}
    for (const [name, child] of Object.entries(node.properties)) {
      const here = [...path, name]
      if (isKey(child)) fresh[name] = value(child, here)
      else fresh[name] = isTable(child) ? entries(child.entry, here) : group(child, here)
    }
    for (const child of Object.values(node.properties)) {
      const variable = isKey(child) && child.from_env !== null ? fresh[child.from_env] : null
      if (typeof variable === 'string') named.add(variable)
    }
    return fresh
  }

  function entries(node: Group, path: readonly string[]): Tree {
    const names = new Set(
      layers.flatMap((layer) => Object.keys((valueAt(layer.tree, path) as Tree | undefined) ?? {})),
    )
    // Without a prototype, so that looking up a tenant called "toString" finds nothing.
    const fresh: Tree = Object.create(null)
    for (const name of names) fresh[name] = group(node, [...path, name])
    return fresh
  }

  function value(key: Placed['key'], path: readonly string[]): unknown {
    for (const layer of layers) {
      if (key.secret === true) {
        const found = secret(layer, key, path)
        if (found !== undefined) return found
        continue
      }
      const given = valueAt(layer.tree, path)
      if (given === undefined || wrong.includes(pathText(path))) continue
      origins[pathText(path)] = { source: layer.source, where: layer.where(path) }
      if (Array.isArray(given)) return [...given]
      return key.path ? absolutePath(String(given), layer.base, env) : given
    }
    origins[pathText(path)] = { source: 'default', where: '' }
    return Array.isArray(key.default) ? [...key.default] : key.default
  }

  function secret(layer: Layer, key: Placed['key'], path: readonly string[]): string | undefined {
    const at = key.from_env && [...path.slice(0, -1), key.from_env]
    const name = at && valueAt(layer.tree, at)
    if (at && typeof name === 'string' && !env[name]) {
      warnings.push(`${layer.blame(at)}: ${pathText(at)} names ${name}, which is not set`)
    }
    const found = findSecret(layer, path, key, env)
    if (!found) return undefined
    if ('text' in found) {
      problems.push(found)
      return ''
    }
    origins[pathText(path)] = { source: layer.source, where: found.where }
    return found.value
  }
}

function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null) {
    for (const inner of Object.values(value)) frozen(inner)
    Object.freeze(value)
  }
  return value
}
