import { Flags } from '@oclif/core'
import { readConfig } from '../../core/runtime/open.ts'
import { showConfig } from '../../core/runtime/show-config.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { table } from '../../shell/table.ts'

export default class ConfigShow extends BaseCommand {
  static override summary = 'Show the configuration in force'
  static override description =
    'Flags beat the environment, the environment beats the file, the file beats the preset, that the defaults.'
  static override examples = [
    '<%= config.bin %> config show --origin',
    '<%= config.bin %> config show --json | jq \'.values[] | select(.source != "default")\'',
  ]
  static override flags = {
    origin: Flags.boolean({ summary: 'Say where each value came from' }),
  }

  async run(): Promise<void> {
    const { flags } = await this.read(ConfigShow)
    await this.reportWithout(
      async () => showConfig(readConfig(this.request)),
      (r) => {
        const rows = r.values.map((v) => [
          v.key,
          written(v.value),
          ...(flags.origin ? [`${v.source} ${v.where}`.trim()] : []),
        ])
        return table(['key', 'value', ...(flags.origin ? ['from'] : [])], rows)
      },
    )
  }
}

function written(value: unknown): string | null {
  if (value === null) return null
  return typeof value === 'string' ? value : JSON.stringify(value)
}
