import type { Socket } from 'node:net'
import pg from 'pg'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { transaction } from '../../../src/core/db/connect.ts'
import { servers } from '../../helpers/database.ts'
import { violations } from '../../helpers/oracle.ts'
import { openScene, type Scene } from '../../helpers/scene.ts'
import { watched } from '../../helpers/watched-source.ts'

/** What node-postgres keeps to itself. */
interface Sockets {
  connection: { stream: Socket }
}

const LIMITS = { transactionMs: 5000, statementMs: 5000, signal: new AbortController().signal }

describe.each(servers())('a connection that breaks on the $name server', ({ url }) => {
  let scene: Scene
  beforeEach(async () => {
    scene = await openScene(url, { 'scm.git.page_size': 2 })
  })
  afterEach(() => scene.drop())

  test('in the middle of a transaction ends no process: the transaction is made again', async () => {
    let tries = 0
    const answer = await transaction(scene.db, LIMITS, async (tx) => {
      if (++tries === 1) await tx.query('select pg_terminate_backend(pg_backend_pid())')
      return (await tx.query('select 1 as one')).rows[0].one
    })
    expect([answer, tries]).toEqual([1, 2])
  })

  test('under a statement ends no process either, whatever the socket says', async () => {
    const reset = Object.assign(new Error('read ECONNRESET'), { code: 'ECONNRESET' })
    let tries = 0
    await transaction(scene.db, LIMITS, async (tx) => {
      const asked = tx.query('select 1')
      if (++tries === 1) (tx as unknown as Sockets).connection.stream.destroy(reset)
      await asked
    })
    expect(tries).toBe(2)
  })

  test('at any moment between two pages is replaced without a word', async () => {
    for (let i = 0; i < 6; i++) scene.repo.commit(`${i}`)
    const operator = new pg.Client({ connectionString: scene.db.options.connectionString })
    await operator.connect()
    const endAll = () =>
      operator.query(
        'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
      )
    const report = await scene.incremental(scene.ctx({ sources: watched(endAll) }))
    await operator.end()
    expect(report).toMatchObject({ status: 'success', items_synced: 6, error: null })
    expect(await violations(scene)).toEqual([])
  })
})
