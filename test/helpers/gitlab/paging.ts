import type { GitLabRequest } from './request.ts'

export interface Reply {
  status: number
  /** Null: not even the header that is sent otherwise. */
  headers: Record<string, string | null>
  body: string
}

/** Ends the request with what GitLab says when it will not. */
export class Refusal extends Error {
  readonly reply: Reply

  constructor(status: number, body: object, headers: Record<string, string> = {}) {
    super(JSON.stringify(body))
    this.reply = { status, headers, body: this.message }
  }
}

export const refuse = (status: number, message: string): Refusal =>
  new Refusal(status, { message: `${status} ${message}` })

export interface PageOf<T> {
  rows: readonly T[]
  /** Null leaves the row out, after paging: that is how short pages come about. */
  write: (row: T) => string | null
  /** `unless` more rows than that; `never` as commit lists, which also promise another page whenever one is full. */
  total: number | 'never'
  offsetCap: number | null
  /** What the 405 calls the rows. */
  type: string
}

/** One page as Kaminari cuts it, with GitLab's headers. */
export function paged<T>(request: GitLabRequest, base: string, of: PageOf<T>): Reply {
  const page = wholeNumber(request, 'page', 1)
  const perPage = Math.min(100, wholeNumber(request, 'per_page', 20))
  const from = (page - 1) * perPage
  if (of.offsetCap !== null && from > of.offsetCap)
    throw new Refusal(405, {
      error: `Offset pagination has a maximum allowed offset of ${of.offsetCap} for requests that return objects of type ${of.type}. Remaining records can be retrieved using keyset pagination.`,
    })
  const rows = of.rows.slice(from, from + perPage)
  const count = of.rows.length
  const known = of.total !== 'never' && count <= of.total
  const next = of.total === 'never' ? rows.length === perPage : from + perPage < count
  const pages = Math.max(1, Math.ceil(count / perPage))
  const url = (n: number): string => {
    const query = new URLSearchParams(request.query)
    query.set('page', String(n))
    query.set('per_page', String(perPage))
    query.sort()
    return `<${base}${request.path}?${query}>`
  }
  const links = [
    ...(page > 1 ? [`${url(page - 1)}; rel="prev"`] : []),
    ...(next ? [`${url(page + 1)}; rel="next"`] : []),
    `${url(1)}; rel="first"`,
    ...(known ? [`${url(pages)}; rel="last"`] : []),
  ]
  const written: string[] = []
  for (const row of rows) {
    const text = of.write(row)
    if (text !== null) written.push(text)
  }
  return {
    status: 200,
    headers: {
      link: links.join(', '),
      'x-next-page': next ? String(page + 1) : '',
      'x-page': String(page),
      'x-per-page': String(perPage),
      'x-prev-page': page > 1 ? String(page - 1) : '',
      ...(known ? { 'x-total': String(count), 'x-total-pages': String(pages) } : {}),
    },
    body: `[${written.join(',')}]`,
  }
}

/** Nothing above zero is the default; nothing whole is refused. */
function wholeNumber(request: GitLabRequest, name: string, usual: number): number {
  const text = request.query.get(name)
  if (text === null || text === '') return usual
  const n = Number(text)
  if (!Number.isInteger(n)) throw new Refusal(400, { error: `${name} is invalid` })
  return n > 0 ? n : usual
}

/** Milliseconds since 1970, or null where it is not given. */
export function dateOf(request: GitLabRequest, name: string): number | null {
  const text = request.query.get(name)
  if (text === null || text === '') return null
  const ms = /^\d{4}-\d{2}-\d{2}/.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(ms)) throw new Refusal(400, { error: `${name} is invalid` })
  return ms
}
