import type { Examined } from './examined.ts'
import { type Finding, failed, ok, warning } from './finding.ts'

export async function configuration({
  configuration: { file, problems, warnings },
}: Examined): Promise<Finding[]> {
  const wrong = problems.map(({ text, hint }) => failed(text, hint ?? 'put it right'))
  const odd = warnings.map((text) => warning(text, 'put it right, or take it away'))
  if (wrong.length + odd.length > 0) return [...wrong, ...odd]
  return [ok(file === null ? 'no file; environment and defaults are valid' : `${file} is valid`)]
}

/** That renewals and statements stay below half a lease is refused with the configuration; what is left is advice. */
export async function lease({ config }: Examined): Promise<Finding[]> {
  if (config === null) return []
  const {
    lease_seconds: lease,
    renew_interval_seconds: renew,
    max_renew_failures: failures,
  } = config.scm.worker
  const statementMs = config.postgres.statement_timeout_ms ?? (lease * 1000) / 2
  const found = `lease ${lease} s, renewed every ${renew} s, statements end after ${statementMs / 1000} s`
  if (renew * failures >= lease)
    return [
      warning(
        `${found}; ${failures} failed renewals take ${renew * failures} s, and the lease is over before`,
        'lower scm.worker.max_renew_failures or renew_interval_seconds, or lengthen lease_seconds',
      ),
    ]
  return [ok(found)]
}
