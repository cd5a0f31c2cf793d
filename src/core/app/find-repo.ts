import { findRepo as lookUp } from '../db/repos.ts'
import { SyncError } from '../domain/errors.ts'
import { maskUserinfo, parseRepoRef, type Repo, type SourceKind } from '../domain/repo.ts'
import type { Source } from '../sources/source.ts'
import type { Context } from './context.ts'

/** What an operator typed → the registered repository: by number, or by its canonical locator. */
export async function findRepo(ctx: Context, typed: string): Promise<Repo> {
  const { kind, id } = parseRepoRef(typed)
  const source = sourceFor(ctx, kind)
  const byNumber = /^\d{1,15}$/.test(id)
  const repo = await lookUp(ctx.db, kind, byNumber ? { repoId: Number(id) } : { locator: source.locate(id) })
  if (repo === null) {
    throw new SyncError('not_found', `repository ${maskUserinfo(typed)} is not registered`, {
      hint: byNumber
        ? 'engram-scm-sync repos list shows the numbers'
        : `register it first: engram-scm-sync repos add ${maskUserinfo(typed)}`,
    })
  }
  return repo
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
