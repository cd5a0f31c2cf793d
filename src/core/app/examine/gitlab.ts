import type { Account, Examined, Introduced } from './examined.ts'
import { type Finding, failed, failedWith, ok, warning } from './finding.ts'

const DAY_MS = 86_400_000
/** Whoever has to ask somebody for a new token has a fortnight for it. */
const EXPIRES_SOON_DAYS = 14
/** Windows of a sync begin a minute before what was seen last; beyond that the two clocks disagree about what is new. */
const MOST_SKEW_SECONDS = 60
const LOW = 0.1

/** Each instance, with each token that goes there. */
export async function gitlab(of: Examined): Promise<Finding[]> {
  const through = of.config?.scm.gitlab.commits_via === 'git'
  const found = await Promise.all(of.accounts.map((account) => examineAccount(account, of.now(), through)))
  return [...found.flat(), ...(await strangers(of))]
}

async function examineAccount(account: Account, now: Date, throughGit: boolean): Promise<Finding[]> {
  const { name, url, hasToken } = account
  try {
    const said = await account.introduce()
    const odd = [
      ...tokenOf(name, hasToken, said, now, throughGit),
      ...clockOf(name, said),
      ...rateOf(name, said),
      ...wireOf(name, url, hasToken),
    ]
    return odd.length > 0 ? odd : [ok(`${name}: ${summary(said)}`)]
  } catch (error) {
    return [
      { ...failedWith(error, 'check the address and the way there'), found: `${name}: ${sentence(error)}` },
    ]
  }
}

function summary({ version, scopes, expiresAt, rate }: Introduced): string {
  return [
    version === null ? 'it answers' : `GitLab ${version}`,
    scopes === null ? 'it does not tell the scopes of this token' : `scopes ${scopes.join(', ')}`,
    expiresAt === null ? null : `until ${expiresAt}`,
    rate === null ? null : `${rate.remaining} of ${rate.limit ?? '?'} requests left`,
  ]
    .filter((part) => part !== null)
    .join(', ')
}

function tokenOf(
  name: string,
  hasToken: boolean,
  said: Introduced,
  now: Date,
  throughGit: boolean,
): Finding[] {
  if (!hasToken)
    return [
      warning(
        `${name}: no token: only public projects can be read, and no comments`,
        'give a token with scope read_api (GITLAB_TOKEN, or of [scm.gitlab.instances])',
      ),
    ]
  const { scopes, expiresAt, isActive } = said
  if (isActive === false)
    return [failed(`${name}: the token is revoked or has expired`, 'make a new one with scope read_api')]

  const lacking = scopes === null ? [] : lackingScopes(scopes, throughGit)
  const days = expiresAt === null ? Number.NaN : (Date.parse(expiresAt) - now.getTime()) / DAY_MS
  return [
    ...lacking.map((scope) =>
      warning(
        `${name}: the token has scope ${scopes?.join(', ') || 'none'}, and not ${scope}`,
        `make one with scope ${scope}`,
      ),
    ),
    ...(days < EXPIRES_SOON_DAYS
      ? [
          warning(
            `${name}: the token expires on ${expiresAt}`,
            'make a new one; written into the token file it needs no restart',
          ),
        ]
      : []),
  ]
}

function lackingScopes(scopes: readonly string[], throughGit: boolean): string[] {
  const has = (...any: string[]) => any.some((scope) => scopes.includes(scope))
  return [
    ...(has('read_api', 'api') ? [] : ['read_api']),
    ...(throughGit && !has('read_repository', 'write_repository', 'api') ? ['read_repository'] : []),
  ]
}

/** The Date header is of a whole second, somewhere between asking and answer. */
function clockOf(name: string, { date, asked }: Introduced): Finding[] {
  if (date === null) return []
  const behindMs = asked.from.getTime() - 1000 - date.getTime()
  const aheadMs = date.getTime() - asked.until.getTime()
  const seconds = Math.round(Math.max(behindMs, aheadMs) / 1000)
  if (seconds <= MOST_SKEW_SECONDS) return []
  return [
    warning(
      `${name}: its clock is ${seconds} s ${aheadMs > 0 ? 'ahead of' : 'behind'} ours`,
      'set both by NTP: windows named by one clock miss what the other dates',
    ),
  ]
}

function rateOf(name: string, { rate }: Introduced): Finding[] {
  if (rate === null || rate.limit === null || rate.remaining >= rate.limit * LOW) return []
  return [
    warning(
      `${name}: ${rate.remaining} of ${rate.limit} requests are left in this window`,
      'syncs slow down by themselves; where it lasts, set scm.gitlab.postgres_rate_limit_enabled',
    ),
  ]
}

function wireOf(name: string, url: string, hasToken: boolean): Finding[] {
  const { protocol, hostname } = new URL(url)
  const isLoopback = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/.test(hostname)
  if (protocol === 'https:' || isLoopback || !hasToken) return []
  return [warning(`${name}: the token travels unencrypted`, 'give the instance an https:// address')]
}

/** Registered at an instance that the configuration does not name, or no longer. */
async function strangers({ accounts, registered, config }: Examined): Promise<Finding[]> {
  if (config === null) return []
  const known = new Set(accounts.map(({ host }) => host))
  const repos = ((await registered) ?? []).filter((r) => r.kind === 'gitlab' && !known.has(r.instanceKey))
  return [...new Set(repos.map((r) => r.instanceKey))].map((host) =>
    failed(
      `${host} has registered projects, and is not configured`,
      `set GITLAB_URL, or add [scm.gitlab.instances."${host}"] with a token`,
    ),
  )
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
