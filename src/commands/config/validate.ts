import { inspectedConfig } from '../../core/runtime/open.ts'
import { checkedConfig } from '../../core/runtime/show-config.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { visible } from '../../shell/output.ts'

export default class ConfigValidate extends BaseCommand {
  static override summary = 'Check the configuration and name everything that is wrong'
  static override description = 'Exit 2 when anything is. No database is contacted.'
  static override examples = [
    '<%= config.bin %> config validate',
    '<%= config.bin %> config validate --config /etc/engram-scm/config.toml --json',
  ]

  async run(): Promise<void> {
    await this.read(ConfigValidate)
    this.print(checkedConfig(inspectedConfig(this.request)), (r) =>
      [
        ...r.problems.map((p) => `error: ${visible(p.message)}${p.hint ? `\n  → ${visible(p.hint)}` : ''}`),
        ...r.warnings.map((w) => `warning: ${visible(w)}`),
        r.problems.length === 0
          ? `the configuration is valid${r.file ? ` (${visible(r.file)})` : ' (no file; environment and defaults)'}`
          : `${r.problems.length} problem${r.problems.length === 1 ? '' : 's'}`,
      ].join('\n'),
    )
  }
}
