import { SyncError } from '../../domain/errors.ts'

/** GitLab's largest per_page. */
export const PER_PAGE = 100

/** Each divides the one before it: a page that is too large has its beginning where a page of fewer rows begins. */
const SIZES = [PER_PAGE, 50, 25, 5, 1]

/** Rows of one list: GitLab takes 5,000 comments per merge request, and an instant has never seen more. */
const MOST_ROWS = 100_000

/** With rows that stay in order the second round finds nothing; who shuffles them is not worth a sixth. */
const MOST_ROUNDS = 5

/** One page of an offset list. */
export interface Sheet<T> {
  items: T[]
  /** As many as there were of upstream's; an item may be less than one, or more. */
  rows: number
  next: boolean
  total: number | null
}

export interface Shifting<T> {
  name: string
  sheet(n: number, size: number): Promise<Sheet<T>>
  key(item: T): string
  /** Rows per page to begin with. */
  size?: number
  /** Page 1, where it was read already. */
  first?: Sheet<T>
  /** With this page all has come that is wanted. */
  isEnough?(items: T[]): boolean
  /** A row that is larger than an answer may be is left out; where this is absent it is an error. */
  leftOut?(): void
}

/**
 * Each item once, of an offset list that changes while it is paged. A row that goes away moves all behind it forward,
 * over the boundary of two pages, and who reads on has missed one. So a list of several pages is read to its end and
 * back again: rows that stay only ever move forward, towards the reader that comes from behind. Where that found
 * something, rows are not in a lasting order, and it is done again. Throws `upstream` for a list that repeats a page or
 * does not end.
 */
export async function* allOf<T>(list: Shifting<T>): AsyncGenerator<T[]> {
  const seen = new Set<string>()
  const unseen = (items: T[]): T[] =>
    items.filter((item) => {
      const key = list.key(item)
      return !seen.has(key) && seen.add(key)
    })

  let size = list.size ?? PER_PAGE
  let n = 1
  /** Null for a row that was left out. */
  const read = async (way: 'there' | 'back'): Promise<Sheet<T> | null> => {
    for (;;) {
      try {
        return await list.sheet(n, size)
      } catch (error) {
        if (!isTooLarge(error)) throw error
        const smaller = smallerThan(size)
        if (smaller === null) {
          if (list.leftOut === undefined) throw error
          list.leftOut()
          return null
        }
        const parts = size / smaller
        n = way === 'there' ? (n - 1) * parts + 1 : n * parts
        size = smaller
      }
    }
  }

  for (let round = 1; round <= MOST_ROUNDS; round++) {
    let before = ''
    for (n = 1; ; n++) {
      if (n * size > MOST_ROWS) throw new SyncError('upstream', `${list.name} has no end`)
      const sheet = (round === 1 && n === 1 && list.first) || (await read('there'))
      if (sheet === null) continue
      const keys = sheet.items.map(list.key).join()
      if (keys !== '' && keys === before) throw new SyncError('upstream', `${list.name} repeats a page`)
      before = keys
      const items = unseen(sheet.items)
      if (items.length > 0) yield items
      if (!goesOn(sheet, n, size, items.length > 0) || list.isEnough?.(sheet.items)) break
    }
    if (n === 1) return

    let missed = 0
    for (n -= 1; n > 0; n--) {
      const items = unseen((await read('back'))?.items ?? [])
      missed += items.length
      if (items.length > 0) yield items
    }
    if (missed === 0) return
  }
}

/**
 * A short page is not the last: rows may be left out after paging. Where nothing is announced and no total told, as when
 * a proxy has dropped the headers, a page is the last that is neither full nor brings anything.
 */
export function goesOn(
  { rows, next, total }: Sheet<unknown>,
  n: number,
  size: number,
  hasNew: boolean,
): boolean {
  return next || (total === null ? hasNew || rows >= size : total > n * size)
}

export function isTooLarge(error: unknown): boolean {
  return error instanceof SyncError && error.limit === 'bytes'
}

export function smallerThan(size: number): number | null {
  return SIZES[SIZES.indexOf(size) + 1] ?? null
}

export function largerThan(size: number): number {
  return SIZES[SIZES.indexOf(size) - 1] ?? PER_PAGE
}
