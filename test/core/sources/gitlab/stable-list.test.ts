import { expect, test } from 'vitest'
import { pageFrom, stableList } from '../../../../src/core/sources/gitlab/commits/stable-list.ts'
import type { Client } from '../../../../src/core/sources/gitlab/http/client.ts'
import { newSeed, seeded } from '../../../helpers/git-repo.ts'

/** A list in memory; `hidden` rows are left out after paging. */
function listed(rows: () => number[], hidden: (row: number) => boolean = () => false) {
  let requests = 0
  const get = async (_: string, { page, per_page }: { page: number; per_page: number }) => {
    requests += 1
    const now = rows()
    const from = (page - 1) * per_page
    return {
      json: now.slice(from, from + per_page).filter((row) => !hidden(row)),
      next: now.length > from + per_page,
    }
  }
  const read = () =>
    stableList({ get } as unknown as Client, 'list', { row: (value) => value as number, keyOf: (row) => row })
  return { read, count: () => requests }
}

const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i)

test('each page begins at or before the last row covered and brings 45 new ones at least', () => {
  for (let covered = 1; covered < 5000; covered++) {
    const { page, perPage } = pageFrom(covered)
    expect((page - 1) * perPage).toBeLessThan(covered)
    expect(perPage).toBeLessThanOrEqual(100)
    expect(page * perPage - covered).toBeGreaterThanOrEqual(45)
  }
})

test('a list that stands still is read once', async () => {
  for (const [n, most] of [
    [0, 1],
    [1, 1],
    [99, 1],
    [100, 2],
    [101, 2],
    [1000, 12],
  ] as const) {
    const list = listed(() => upTo(n))
    expect(await list.read()).toEqual(upTo(n))
    expect(list.count()).toBeLessThanOrEqual(most)
  }
})

test('no row that was there all the time is missed, whatever comes and goes, hidden rows or none', async () => {
  const random = seeded(newSeed())
  let gaveUp = 0
  for (let run = 0; run < 3000; run++) {
    let rows = upTo(50 + Math.floor(random() * 400)).map((n) => n * 1000)
    const kept = new Set(rows)
    const changes = Math.floor(random() * 6)
    const rate = random() * 0.5
    const share = run % 2 === 0 ? 0 : random() * 0.8
    const secret = new Set(rows.filter(() => random() < share))
    let left = changes
    const list = listed(
      () => {
        while (left > 0 && random() < rate) {
          left -= 1
          const i = Math.floor(random() * rows.length)
          if (random() < 0.6) {
            kept.delete(rows[i] as number)
            rows = rows.filter((_, at) => at !== i)
          } else rows = [...rows, Math.floor(random() * 450_000)].sort((a, b) => a - b)
        }
        return rows
      },
      (row) => secret.has(row),
    )
    const read = await list.read().catch((error: Error) => {
      expect(error.message).toMatch(/faster than/)
      return null
    })
    if (read === null) gaveUp += 1
    else {
      const got = new Set(read)
      expect(read.length).toBe(got.size)
      expect([...kept].filter((row) => !secret.has(row) && !got.has(row))).toEqual([])
    }
  }
  expect(gaveUp).toBeLessThan(300)
})

test('a list that never stands still is a failure, and so are pages that bring nothing for ever', async () => {
  let n = 0
  const moving = listed(() => upTo(1000).map((row) => row + n++))
  await expect(moving.read()).rejects.toMatchObject({ kind: 'upstream' })
  const barren = listed(
    () => upTo(100_000),
    (row) => row > 10,
  )
  await expect(barren.read()).rejects.toMatchObject({ kind: 'upstream' })
  expect(barren.count()).toBeLessThan(30)
})
