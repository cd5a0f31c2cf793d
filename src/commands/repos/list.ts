import { showRepos } from '../../core/app/manage/repos.ts'
import { BaseCommand } from '../../shell/base-command.ts'
import { table } from '../../shell/table.ts'

export default class ReposList extends BaseCommand {
  static override summary = 'List the registered repositories'
  static override examples = [
    '<%= config.bin %> repos list',
    "<%= config.bin %> repos list --json | jq -r '.repos[].repo'",
  ]

  async run(): Promise<void> {
    await this.read(ReposList)
    await this.report(showRepos, (r) =>
      r.count === 0
        ? 'no repository is registered yet: engram-scm-sync repos add gitlab:<id or path>, git:<path or URL>'
        : table(
            ['id', 'repository', 'project', 'enabled', 'state', 'items', 'last sync', 'status'],
            r.repos.map((x) => [
              x.repo_id,
              x.repo,
              x.project_key,
              x.enabled ? 'yes' : 'no',
              x.state,
              x.items,
              x.last_sync_at,
              x.last_status,
            ]),
          ),
    )
  }
}
