/** The part of an address before its path, in one spelling: `[user@]host[:port]`. Or what is wrong with it. */
export function canonicalAuthority(
  typed: string,
  { port: usual, mayHaveUser }: { port: number; mayHaveUser: boolean },
): { canonical: string } | { odd: string; isCredentials: boolean } {
  const at = typed.lastIndexOf('@')
  const user = at < 0 ? null : typed.slice(0, at)
  if (user !== null && (!mayHaveUser || user.includes(':')))
    return { odd: 'carries a user or a password', isCredentials: true }
  if (user !== null && !/^[a-z0-9_][a-z0-9_.+-]*$/i.test(user)) return odd('has an odd user name')

  const [, host = '', port] = /^(\[[0-9a-f:.]+\]|[^:[\]]*)(?::(\d{1,5}))?$/i.exec(typed.slice(at + 1)) ?? []
  // A leading dash would be an option of ssh (CVE-2017-9800).
  if (!/^(\[[0-9a-f:.]+\]|[a-z0-9_][a-z0-9._-]*)$/i.test(host)) return odd('has no usable host')
  if (port !== undefined && (Number(port) === 0 || Number(port) > 65535)) return odd('has no usable port')

  const kept = port === undefined || Number(port) === usual ? '' : `:${Number(port)}`
  return { canonical: `${user === null ? '' : `${user}@`}${host.toLowerCase()}${kept}` }
}

const odd = (why: string) => ({ odd: why, isCredentials: false })
