import { SyncError } from '../../../domain/errors.ts'
import type { Client, Query } from '../http/client.ts'
import { PER_PAGE } from '../shifting.ts'

/** Rows of a page below which an overlap may leave no room for new ones. */
const FEWEST = 10

/** Readings of one list before it counts as changing faster than it can be read. */
const MAX_READINGS = 6

/** Pages in a row that may bring nothing new: 19 times 99 rows nobody may see are not to be expected. */
const MAX_BARREN = 20

/** 2,000 pages are 190,000 rows: ten times the refs of the largest projects, a third of a minute of GitLab.com's rate. */
const MAX_PAGES = 2000

/**
 * The rows of a list that may change while it is paged, each once. A row deleted before the place reached shifts the
 * rest left, and one is never seen: it would pass for deleted. So each page begins with the last row of the one before
 * it, and a list whose rows are not where they were is read again. A page of too many bytes is asked for in smaller ones.
 *
 * Rows that may not be seen are left out after paging, by GitLab: then a short page is not the last one, and a last
 * row that is not met again may have been moved or not. Such a list is read until two readings are equal.
 *
 * Throws `upstream` where the list does not stand still, repeats itself or never ends.
 */
export async function stableList<T>(
  client: Client,
  path: string,
  {
    query = {},
    row,
    keyOf,
  }: { query?: Query; row: (value: unknown) => T; keyOf: (row: T) => string | number },
): Promise<T[]> {
  let before: string | null = null
  for (let reading = 1; reading <= MAX_READINGS; reading++) {
    const read = await readOnce(client, path, query, row, keyOf)
    if (read === 'shifted') continue
    if (read.sure) return [...read.rows.values()]
    const keys = JSON.stringify([...read.rows.keys()])
    if (keys === before) return [...read.rows.values()]
    before = keys
  }
  throw new SyncError('upstream', `${path}: the list changes faster than it can be read`)
}

async function readOnce<T>(
  client: Client,
  path: string,
  query: Query,
  row: (value: unknown) => T,
  keyOf: (row: T) => string | number,
): Promise<{ rows: Map<string | number, T>; sure: boolean } | 'shifted'> {
  const rows = new Map<string | number, T>()
  let sure = true
  let last: { key?: string | number | undefined; atEnd: boolean } = { atEnd: false }
  let covered = 0
  let most = PER_PAGE
  let alone = false
  let barren = 0
  for (let pages = 1; pages <= MAX_PAGES; pages++) {
    const { page, perPage } = alone ? { page: covered + 1, perPage: 1 } : pageFrom(covered, most)
    const answer = await client.get(path, { ...query, per_page: perPage, page }).catch((error) => {
      if (!(error instanceof SyncError) || error.limit !== 'bytes' || alone) throw error
      // A row of megabytes is asked for by itself, without the one before it.
      if (most < 2 * FEWEST) alone = true
      else most = most >> 1
      return null
    })
    if (answer === null) continue
    const { json, next } = answer
    const found = json.map(row)
    const keys = found.map(keyOf)

    if (alone) {
      alone = false
      sure = false
    } else if (pages > 1 && (last.key === undefined || !keys.includes(last.key))) {
      // It was the last of a full page, so it must be in this one.
      if (last.atEnd) return 'shifted'
      sure = false
    }
    const size = rows.size
    for (const [i, key] of keys.entries()) rows.set(key, found[i] as T)
    barren = rows.size > size ? 0 : barren + 1

    // A proxy may have dropped the headers that tell of a next page.
    if (!next && keys.length < perPage) return { rows, sure }
    if (!next && barren > 0) return { rows, sure }
    if (barren === MAX_BARREN) throw new SyncError('upstream', `${path}: protocol: the pages repeat`)
    covered = page * perPage
    last = { key: keys.at(-1) ?? last.key, atEnd: keys.length === perPage }
  }
  throw new SyncError('upstream', `${path}: protocol: no end after ${MAX_PAGES} pages`)
}

/** The page that begins at the last row covered or before it and reaches furthest beyond. */
export function pageFrom(covered: number, most: number = PER_PAGE): { page: number; perPage: number } {
  if (covered === 0) return { page: 1, perPage: most }
  let best = { page: 0, perPage: 0 }
  for (let perPage = most; perPage > 0; perPage--) {
    const page = Math.floor((covered - 1) / perPage) + 1
    if (page * perPage > best.page * best.perPage) best = { page, perPage }
  }
  return best
}
