import { enabledRepos } from '../../db/facts/repos.ts'
import { type JobType, spell } from '../../domain/repo.ts'
import { isInShard } from '../../domain/trigger.ts'
import type { Context } from '../context.ts'
import { findRepo } from '../find-repo.ts'

/**
 * The repositories that a trigger means and that are its shard's: those it names, or all that are synced and have such
 * a job; each once. Throws `not_found` for a name that is not registered, whichever shard it would be of.
 */
export async function reposOfShard(
  ctx: Context,
  ask: { repos: readonly string[] | 'all'; job: JobType },
): Promise<string[]> {
  const meant =
    ask.repos === 'all'
      ? (await enabledRepos(ctx.db)).filter(({ kind }) => ctx.sources[kind]?.jobs[ask.job])
      : await Promise.all(ask.repos.map((typed) => findRepo(ctx, typed)))
  const ours = meant.filter(({ repoId }) => isInShard(repoId, ctx.trigger.shard))
  return [...new Set(ours.map(spell))]
}
