import { findRepo as lookUp } from '../db/facts/repos.ts'
import { SyncError } from '../domain/errors.ts'
import {
  maskUserinfo,
  parseRepoRef,
  type Repo,
  type RepoRef,
  type SourceKind,
  spell,
} from '../domain/repo.ts'
import type { Source } from '../sources/source.ts'
import type { Context } from './context.ts'

/**
 * What an operator typed → the registered repository: by number, or by its canonical locator. A bare number may be both,
 * the repository's here and the project's in GitLab; one that means two repositories is refused.
 */
export async function findRepo(ctx: Context, typed: string): Promise<Repo> {
  const { kind, id } = parseRepoRef(typed)
  const source = sourceFor(ctx, kind)
  const isNumber = /^\d{1,15}$/.test(id)
  const numbered = isNumber ? await lookUp(ctx.db, kind, { repoId: Number(id) }) : null
  const located = !isNumber || source.locatesNumbers ? await findAddress(ctx, source, { kind, id }) : null

  if (numbered && located && numbered.repoId !== located.repoId)
    throw new SyncError('usage', `${typed} is repository ${id} (${spell(numbered)}) and ${spell(located)}`, {
      hint: 'give the whole address of the one you mean',
    })
  const repo = located ?? numbered
  if (repo === null) {
    throw new SyncError('not_found', `repository ${maskUserinfo(typed)} is not registered`, {
      hint:
        isNumber && !source.locatesNumbers
          ? 'engram-scm-sync repos list shows the numbers'
          : `register it first: engram-scm-sync repos add ${maskUserinfo(typed)}`,
    })
  }
  return repo
}

/** What stands under exactly this address comes first: its folder may be gone by now, or a link to another one. */
async function findAddress(ctx: Context, source: Source, { kind, id }: RepoRef): Promise<Repo | null> {
  let locator: string
  try {
    locator = source.locate(id)
  } catch (error) {
    if (!(error instanceof SyncError) || !['not_found', 'permission'].includes(error.kind)) throw error
    const repo = await lookUp(ctx.db, kind, { locator: id })
    if (repo === null) throw error
    return repo
  }
  return (await lookUp(ctx.db, kind, { locator: id })) ?? (await lookUp(ctx.db, kind, { locator }))
}

export function sourceFor(ctx: Context, kind: SourceKind): Source {
  const source = ctx.sources[kind]
  if (!source) {
    throw new SyncError('unsupported', `repositories of kind ${kind} cannot be synced yet`, {
      hint: `kinds that can: ${Object.keys(ctx.sources).join(', ')}`,
    })
  }
  return source
}
