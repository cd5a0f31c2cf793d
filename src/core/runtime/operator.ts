import { hostname, userInfo } from 'node:os'

/** Who types, for the record of what they change: nothing is allowed or forbidden by it. */
export function operatorHere(): string {
  return `${process.env.SUDO_USER || process.env.USER || accountName()}@${hostname()}`
}

/** A container may run under a number that has no name. */
function accountName(): string {
  try {
    return userInfo().username
  } catch {
    return `uid ${process.getuid?.() ?? 'unknown'}`
  }
}
