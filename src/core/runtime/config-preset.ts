import { PRESETS, type Preset } from '../contracts/config-presets.ts'
import { type Layer, put, type Tree, valueAt } from './config-layer.ts'

/** The layer below all others, when one of them chooses a preset. */
export function presetLayer(layers: readonly Layer[]): Layer[] {
  const chosen = layers
    .map((layer) => valueAt(layer.tree, ['scm', 'preset']))
    .find((name) => name !== undefined)
  if (typeof chosen !== 'string' || !Object.hasOwn(PRESETS, chosen)) return []

  const name = chosen as Preset
  const tree: Tree = {}
  for (const [path, value] of Object.entries(PRESETS[name])) put(tree, path.split('.'), value)
  return [{ source: 'preset', tree, where: () => name, blame: () => `preset ${name}`, base: '' }]
}
