import { sha256 } from '../../../domain/ledger.ts'
import type { Heads } from '../../source.ts'
import type { Opened } from '../opened.ts'
import { branchOf, tagOf } from '../records/ref.ts'
import { stableList } from './stable-list.ts'

/** The default branch's commit, among the heads a read is held against. Of no ref: it is never landed. */
export const HEAD = 'HEAD'

export interface Listing {
  /** Every branch and tag, and HEAD where the project has a default branch. */
  heads: Heads
  /** Milliseconds since 1970, by sha. */
  committedAt: Map<string, number>
}

/** All branches and tags, by their full names, as the git source has them. */
export async function readHeads({ client, project }: Opened): Promise<Listing> {
  const root = `projects/${project.id}/repository`
  const [branches, tags] = await Promise.all([
    stableList(client, `${root}/branches`, { row: branchOf, keyOf: ({ name }) => name }),
    // By default they come newest first, and a new one would shift them all.
    stableList(client, `${root}/tags`, {
      query: { order_by: 'name', sort: 'asc' },
      row: (value) => {
        const tag = tagOf(value)
        // Of a tree or a blob: no head, but a row like the others.
        return { tag, name: tag?.name ?? sha256(nameOf(value)) }
      },
      keyOf: ({ name }) => name,
    }),
  ])
  const heads: Heads = {}
  const committedAt = new Map<string, number>()
  for (const ref of [...branches, ...tags.map(({ tag }) => tag)]) {
    if (ref === null) continue
    heads[ref.name] = ref.sha
    if (ref.committedAt !== null) committedAt.set(ref.sha, ref.committedAt)
  }
  const main = branches.find(({ isDefault }) => isDefault)
  if (main !== undefined) heads[HEAD] = main.sha
  return { heads, committedAt }
}

/** Without HEAD: what lands. */
export function refHeads({ [HEAD]: _, ...refs }: Heads): Heads {
  return refs
}

function nameOf(value: unknown): string {
  return String((value as { name?: unknown }).name)
}
