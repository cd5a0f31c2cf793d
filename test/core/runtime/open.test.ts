import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test, vi } from 'vitest'
import { type Opened, openContext, redactorOf } from '../../../src/core/runtime/open.ts'
import type { Access } from '../../../src/core/sources/source.ts'
import { embeddedUrl, freshDatabase, type TestDatabase } from '../../helpers/database.ts'
import { type GitLab, startGitLab } from '../../helpers/gitlab/server.ts'

/** The secrets of every redactor that is made. */
const made = vi.hoisted(() => [] as string[][])
vi.mock('../../../src/core/domain/redact.ts', async (original) => {
  const { redactor } = await original<typeof import('../../../src/core/domain/redact.ts')>()
  return {
    redactor: (secrets: string[]) => {
      made.push(secrets)
      return redactor(secrets)
    },
  }
})

const PASSWORD = 'canary-of-git-0b7e'
const [OLD, NEW] = ['glpat-canary-old-41f2', 'glpat-canary-new-93ac']
const folder = mkdtempSync(join(tmpdir(), 'open-'))
const tokenFile = join(folder, 'token')
const write = (token: string) => writeFileSync(tokenFile, token, { mode: 0o600 })

let db: TestDatabase
let gitlab: GitLab
let opened: Opened
beforeAll(async () => {
  db = await freshDatabase(embeddedUrl())
  gitlab = await startGitLab({ token: OLD })
  gitlab.project({ path: 'group/project' })
  write(OLD)
  opened = await openContext({
    flags: {
      'postgres.dsn': db.dsn,
      'storage.data_dir': folder,
      'log.level': 'silent',
      'scm.gitlab.url': gitlab.url,
      'scm.gitlab.token_file': tokenFile,
      'scm.git.password': PASSWORD,
      'scm.git.credential_host': 'git.test',
    },
    configFile: null,
    signal: new AbortController().signal,
    progress: () => {},
  })
})
afterAll(async () => {
  await opened.close()
  await gitlab.stop()
  await db.drop()
  rmSync(folder, { recursive: true })
})

test('tokens that are read again are redacted, and only a new one makes a redactor anew', async () => {
  const { ctx } = opened
  const redact = redactorOf(ctx.config)
  gitlab.token = 'revoked'
  const source = ctx.sources.gitlab
  const access = {
    locator: `${gitlab.url}/group/project`,
    tenantId: '',
    settings: {},
    learn: () => {},
    budget: null,
    signal: ctx.signal,
  } as unknown as Access
  const ask = () => source?.open(access).catch(({ kind }) => redact(kind))

  expect(await ask()).toBe('auth')
  made.length = 0
  for (let i = 0; i < 20; i++) expect(await ask()).toBe('auth')
  // The client makes some of its own, of its token alone.
  expect(made.filter((secrets) => secrets.includes(PASSWORD))).toEqual([])

  write(NEW)
  await ask()
  expect(redact(`${OLD} ${NEW} ${PASSWORD}`)).toBe('[redacted] [redacted] [redacted]')
})
