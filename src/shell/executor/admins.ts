/** XXL-Job's own limit for a call. */
const CALL_MS = 3_000
const MOST_ANSWER_BYTES = 65_536

export interface Admins {
  /** Asks one after the other until one accepts; null when it was, else what each of them said. `end` cuts it short. */
  tell: (
    what: 'registry' | 'registryRemove' | 'callback',
    body: unknown,
    end?: AbortSignal,
  ) => Promise<string | null>
}

/** The admins are one cluster with one database: what one of them accepts is known to all. */
export function makeAdmins(o: {
  addresses: readonly string[]
  token: string | null
  appName: string
}): Admins {
  const headers = {
    'content-type': 'application/json;charset=UTF-8',
    // Before 3.5 nobody looks at it.
    'xxl-job-appname': o.appName,
    ...(o.token === null ? {} : { 'xxl-job-access-token': o.token }),
  }
  return {
    tell: async (what, body, end) => {
      const refusals: string[] = []
      for (const address of o.addresses) {
        const refusal = await call(
          `${address.replace(/\/+$/, '')}/api/${what}`,
          headers,
          JSON.stringify(body),
          end,
        )
        if (refusal === null) return null
        refusals.push(`${address}: ${refusal}`)
      }
      return refusals.join('; ')
    },
  }
}

async function call(
  url: string,
  headers: Record<string, string>,
  body: string,
  end?: AbortSignal,
): Promise<string | null> {
  const late = AbortSignal.timeout(CALL_MS)
  try {
    const response = await fetch(url, {
      method: 'POST',
      headers,
      body,
      redirect: 'error', // the token is for this address
      signal: end ? AbortSignal.any([late, end]) : late,
    })
    const said = await textOf(response)
    if (response.status !== 200) return `HTTP ${response.status}`
    const { code, msg } = JSON.parse(said) as { code?: unknown; msg?: unknown }
    return code === 200 ? null : String(msg ?? `code ${code}`).slice(0, 300)
  } catch (error) {
    return reasonOf(error as Error)
  }
}

async function textOf(response: Response): Promise<string> {
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk as Uint8Array, { stream: true })
    if (text.length > MOST_ANSWER_BYTES) throw new Error('the answer is too long for an admin')
  }
  return text
}

/** fetch says "fetch failed"; what failed stands behind it. */
function reasonOf(error: Error): string {
  if (error.name === 'TimeoutError') return `no answer within ${CALL_MS / 1000} s`
  if (error instanceof SyntaxError) return 'the answer is not JSON'
  const cause = error.cause as (Error & { code?: string }) | undefined
  return cause?.code ?? cause?.message ?? error.message
}
