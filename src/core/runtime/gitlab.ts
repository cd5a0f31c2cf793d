import type { Config } from '../contracts/config.ts'
import { gitlabSource } from '../sources/gitlab/gitlab.ts'
import type { Source } from '../sources/source.ts'

/** The GitLab source as the configuration has it. `reread` loads that again, for a token that was exchanged meanwhile. */
export function gitlabOf(
  config: Config,
  o: { git: Source; maxWaitMs: number; reread: () => Config },
): Source {
  const { gitlab, http } = config.scm
  const home = gitlab.url && addressOf(gitlab.url)
  const named = Object.entries(gitlab.instances).map(([name, { url }]) => addressOfInstance(name, url))
  let latest = gitlab

  return gitlabSource({
    home,
    instances: [...(home === null ? [] : [home]), ...named],
    tokenFor: (instance, tenantId) => ({
      token: async () => tokenIn(latest, { instance, tenantId, isHome: instance === home }),
      renewToken: async () => {
        latest = o.reread().scm.gitlab
        return tokenIn(latest, { instance, tenantId, isHome: instance === home })
      },
    }),
    limits: {
      timeoutMs: http.timeout_seconds * 1000,
      maxAttempts: http.max_attempts,
      backoffBaseMs: http.backoff_base_seconds * 1000,
      backoffMaxMs: http.backoff_max_seconds * 1000,
      maxWaitMs: o.maxWaitMs,
    },
    concurrency: gitlab.max_concurrency,
    commitsVia: gitlab.commits_via,
    git: o.git,
  })
}

/** Every instance with every token that goes there; of the general one, the tenants' besides. */
export function accountsOf({
  scm: { gitlab },
}: Config): { instance: string; tenant: string | null; token: string | null }[] {
  const home = gitlab.url && addressOf(gitlab.url)
  const named = Object.entries(gitlab.instances).map(([name, { url, token }]) => ({
    instance: addressOfInstance(name, url),
    tenant: null,
    token,
  }))
  if (home === null || named.some(({ instance, token }) => instance === home && token)) return named

  const tenants = Object.entries(gitlab.tenants).flatMap(([tenant, { token }]) =>
    token ? { instance: home, tenant, token } : [],
  )
  const others = named.filter(({ instance }) => instance !== home)
  return [{ instance: home, tenant: null, token: gitlab.token }, ...tenants, ...others]
}

/** An instance's own token, and for the one that has none of its own the tenant's, then the general one: it goes nowhere else. */
function tokenIn(
  { instances, tenants, token }: Config['scm']['gitlab'],
  of: { instance: string; tenantId: string; isHome: boolean },
): string | null {
  const own = Object.entries(instances).find(
    ([name, { url }]) => addressOfInstance(name, url) === of.instance,
  )
  if (own?.[1].token) return own[1].token
  return of.isHome ? (tenants[of.tenantId]?.token ?? token) : null
}

/** The configuration is checked: what has no url is named as its host. */
function addressOfInstance(name: string, url: string | null): string {
  return addressOf(url ?? `https://${name}`)
}

/** As locators begin: lower-case host, no default port, no slash at the end. */
function addressOf(url: string): string {
  return new URL(url).href.replace(/\/+$/, '')
}
