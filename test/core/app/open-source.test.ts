import { afterAll, describe, expect, test } from 'vitest'
import { openSource } from '../../../src/core/app/sync/open-source.ts'
import { openPool } from '../../../src/core/db/connect.ts'
import { SyncError } from '../../../src/core/domain/errors.ts'
import type { Repo } from '../../../src/core/domain/repo.ts'
import type { Access, Ask, Reading, Source } from '../../../src/core/sources/source.ts'
import { contextOn } from '../../helpers/context.ts'

const nowhere = openPool({
  dsn: 'postgresql://nobody@127.0.0.1:1/none',
  max: 1,
  applicationName: 'test',
  statementTimeoutMs: 1000,
})
afterAll(() => nowhere.end())

describe('what was learnt cannot be kept, since there is no database', () => {
  /** `learns` is when the source learns something. */
  function open(learns: 'open' | 'audit' | 'pages', fails: boolean): Promise<Reading> {
    const at = (here: string, learn: Access['learn']) => {
      if (here !== learns) return
      learn({ project_id: 7 })
      if (fails) throw new SyncError('not_found', 'the project is gone')
    }
    const source = {
      open: async ({ learn }: Access) => {
        at('open', learn)
        return {
          audit: async () => at('audit', learn),
          // biome-ignore lint/correctness/useYield: this list is empty, or fails
          pages: async function* () {
            at('pages', learn)
          },
        }
      },
    }
    const ctx = contextOn(nowhere, { sources: { gitlab: source as unknown as Source } })
    const repo = { kind: 'gitlab', repoId: 1, tenantId: '', instanceKey: 'gitlab.test', settings: {} }
    return openSource(ctx, repo as unknown as Repo, ctx.signal)
  }

  const used = {
    open: (fails: boolean) => open('open', fails),
    audit: async (fails: boolean) => (await open('audit', fails)).audit?.(),
    pages: async (fails: boolean) => {
      for await (const _ of (await open('pages', fails)).pages({} as Ask, null));
    },
  }
  test.each(['open', 'audit', 'pages'] as const)('%s', async (part) => {
    await expect(used[part](false)).rejects.toMatchObject({ kind: 'database' })
    await expect(used[part](true)).rejects.toMatchObject({ kind: 'not_found' })
  })
})
