import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { renderConfigTable } from '../../src/core/contracts/config-docs.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../helpers/database.ts'
import { type GitLab, startGitLab } from '../helpers/gitlab/server.ts'
import { openShell, type Shell } from '../runbook/command-line.ts'

const ROOT = new URL('../..', import.meta.url).pathname
const readme = readFileSync(join(ROOT, 'README.md'), 'utf8')

test('the configuration table of the README is what the schema says', () => {
  const shown = readme.split('<!-- config:begin -->\n')[1]?.split('<!-- config:end -->')[0]
  expect(shown?.trim()).toBe(renderConfigTable().trim())
})

test('every room on the map exists, and every folder of the source is on it', () => {
  const rooms = readdirSync(join(ROOT, 'src/core')).map((r) => `src/core/${r}/`)
  for (const room of [...rooms, 'src/commands/', 'src/shell/']) expect(readme).toContain(room)
})

test('every file, script and link that is named is there', () => {
  const walk = readme.split('### One command, walked through')[1]?.split('\n### ')[0] ?? ''
  const files = [...walk.matchAll(/`((?:[\w-]+\/)*[\w-]+\.(?:ts|sql))`/g)].map((m) => m[1] as string)
  expect(files.length).toBeGreaterThan(8)
  for (const file of files)
    expect(
      ['', 'src/core/', 'src/core/app/sync/', 'src/core/app/queue/'].filter((room) =>
        existsSync(join(ROOT, room, file)),
      ),
      file,
    ).not.toEqual([])
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  for (const [, script] of readme.matchAll(/npm run ([\w:]+)/g))
    expect(scripts, script).toHaveProperty([script as string])
  for (const [, target] of readme.matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g))
    expect(existsSync(join(ROOT, target as string)), target).toBe(true)
})

describe('on a shell', () => {
  let db: TestDatabase
  let shell: Shell
  let gitlab: GitLab
  beforeAll(async () => {
    db = await freshDatabase(embeddedUrl())
    gitlab = await startGitLab({ token: 'glpat-canary-3b9e07d1f5' })
    const project = gitlab.project({ path: 'group/project' })
    project.commit()
    project.note(project.mr())
    shell = openShell({ POSTGRES_DSN: db.dsn, GITLAB_URL: gitlab.url, GITLAB_TOKEN: String(gitlab.token) })
  })
  afterAll(async () => {
    await shell.close()
    await gitlab.stop()
    await db.drop()
  })
  const lines = [...readme.matchAll(/^```bash\n([\s\S]*?)^```$/gm)]
    .flatMap((m) => (m[1] as string).trim().split('\n'))
    .map((line) => line.replace(/\s+#.*$/, '').replaceAll('git:/srv/project.git', 'git:project.git'))
    .filter((line) => !line.startsWith('npm ') && !line.startsWith('export '))

  test('every line of the README works, in its order', async () => {
    expect(lines.length).toBeGreaterThan(9)
    for (const line of lines) {
      const loops = line.endsWith('&')
        ? line
            .split('&')
            .map((part) => part.trim())
            .filter(Boolean)
        : []
      for (const loop of loops) {
        const program = shell.start(`${loop} --json`, { ENGRAM_SCM_LOG_LEVEL: 'info' })
        let heard = (_: string) => {}
        const works = new Promise<void>((resolve) => {
          heard = () => resolve()
        })
        program.heard(heard)
        await Promise.race([works, program.ended]) // its log: a worker tells that it started, the others that a round is done
        expect((await program.stop()).code, loop).toBe(0)
      }
      if (loops.length > 0) continue
      if (line.startsWith('psql') && (await shell.run('psql --version')).code !== 0) {
        process.stdout.write(`not run, psql is not installed: ${line}\n`)
        continue
      }
      const ended = await shell.run(line)
      expect(ended.code, `${line}\n${ended.stdout}\n${ended.stderr}`).toBe(0)
      expect(ended.stdout, line).not.toBe('')
    }
  })

  const rows = [...readme.matchAll(/^\| `([a-z -]+)` \| `((?:[a-z_0-9]+ )+[a-z_0-9]+(?: …)?)` \|$/gm)]
  test.each(rows.map((m) => ({ command: m[1] as string, fields: m[2] as string })))(
    'the report of $command has the fields that the README names',
    async ({ command, fields }) => {
      const of = { runner: '--repo git:project.git', admin: '--repo gitlab:group/project' }
      const repo = of[command.split(' ')[0] as keyof typeof of] ?? ''
      const once = command === 'worker' ? '--once' : ''
      const report = JSON.parse((await shell.run(`engram-scm-sync ${command} ${repo} ${once} --json`)).stdout)
      for (const field of fields.replace(' …', '').split(' ')) expect(report).toHaveProperty([field])
      if (!fields.endsWith('…')) expect(Object.keys(report)).toHaveLength(fields.split(' ').length)
    },
  )
  test('of eight reports', () => expect(rows).toHaveLength(8))
})
