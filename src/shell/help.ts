import { CommandHelp, Help } from '@oclif/core'

/**
 * oclif's own joins each flag to those it excludes or needs, and then does not find the ones that it has joined before:
 * `[--shard I/N | ]`. A short binary has no name of a command, but the blanks around it.
 */
class Tidy extends CommandHelp {
  protected override defaultUsage(): string {
    return super.defaultUsage().replace(/[ |]+(?=[\])])/g, '')
  }

  override generate(): string {
    return super.generate().replaceAll(`$ ${this.config.bin}  `, `$ ${this.config.bin} `).replace(/ +$/gm, '')
  }
}

export default class TidyHelp extends Help {
  protected override CommandHelpClass = Tidy
}
