import type { Config } from '../contracts/config.ts'
import {
  type Met,
  type Pace,
  type PacePolicy,
  paced,
  pauseAfter,
  restAfter,
  startingPace,
} from '../domain/pace.ts'
import type { Repo, SourceKind } from '../domain/repo.ts'

/** How one upstream is asked by this process. */
export interface PaceKeeper {
  readonly batchSize: number
  readonly details: boolean
  /** Seconds before the next page. */
  readonly restSeconds: number
  /** Seconds, at least, before a job that failed is tried again. */
  readonly pauseSeconds: number
  met(met: Met): void
}

/** By upstream host, for the life of the process: what one job learnt the next one need not learn again. */
export type Paces = (repo: Pick<Repo, 'kind' | 'instanceKey'>) => PaceKeeper

export function makePaces({ scm }: Config): Paces {
  const keepers = new Map<string, PaceKeeper>()
  return ({ kind, instanceKey }) => {
    const key = `${kind}:${instanceKey}`
    const keeper = keepers.get(key) ?? keep(startOf(kind, scm), policyOf(kind, scm))
    keepers.set(key, keeper)
    return keeper
  }
}

function keep(batchSize: number, policy: PacePolicy): PaceKeeper {
  let pace: Pace = startingPace(batchSize)
  return {
    get batchSize() {
      return pace.batchSize
    },
    get details() {
      return pace.details
    },
    get restSeconds() {
      return restAfter(pace, policy)
    },
    get pauseSeconds() {
      return pauseAfter(pace, policy)
    },
    met: (met) => {
      pace = paced(pace, met, policy)
    },
  }
}

const batchOf = (kind: SourceKind, { git, worker, svn }: Config['scm']): number =>
  ({ git: git.page_size, gitlab: worker.batch_size, svn: svn.batch_size })[kind]

/** A page of git costs nobody else anything. */
function startOf(kind: SourceKind, scm: Config['scm']): number {
  const batch = batchOf(kind, scm)
  return kind === 'git' ? batch : Math.min(batch, scm.degradation.default_batch_size)
}

function policyOf(kind: SourceKind, scm: Config['scm']): PacePolicy {
  const { degradation: d } = scm
  const most = kind === 'git' ? batchOf(kind, scm) : Math.min(batchOf(kind, scm), d.max_batch_size)
  return {
    batch: {
      least: Math.min(d.min_batch_size, most),
      most,
      shrink: d.batch_shrink_factor,
      grow: d.batch_grow_factor,
    },
    limitedInRow: d.rate_limit_threshold,
    timeoutsInRow: d.timeout_threshold,
    tooLargeInRow: d.content_too_large_threshold,
    sleep: { base: d.base_sleep_seconds, most: d.max_sleep_seconds },
    goodInRow: d.recovery_success_count,
  }
}
