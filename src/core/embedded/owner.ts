import { readFile, stat } from 'node:fs/promises'
import type { Place } from './place.ts'

/** The account PostgreSQL runs as. `switched` is true when that is not our own. */
export interface Owner {
  uid: number
  gid: number
  name: string
  switched: boolean
}

/**
 * PostgreSQL refuses to run as root. Root hands over to the owner of an existing data folder, else to `postgres`,
 * else to `nobody`. No account is ever created: slim images have no useradd, and nobody works end to end.
 */
export async function chooseOwner(place: Place): Promise<Owner> {
  const uid = process.getuid?.() ?? 0
  if (uid !== 0) return { uid, gid: process.getgid?.() ?? 0, name: `uid ${uid}`, switched: false }

  const passwd = await readFile('/etc/passwd', 'utf8').catch(() => '')
  const accounts = passwd.split('\n').map((line) => line.split(':'))
  const data = await stat(place.data).catch(() => null)
  if (data !== null && data.uid !== 0) {
    const name = accounts.find((account) => Number(account[2]) === data.uid)?.[0] ?? `uid ${data.uid}`
    return { uid: data.uid, gid: data.gid, name, switched: true }
  }

  const account =
    accounts.find(([name, , id]) => name === 'postgres' && Number(id) !== 0) ??
    accounts.find(([name]) => name === 'nobody')
  // macOS writes nobody as -2; stat and chown know it as 4294967294.
  return {
    uid: Number(account?.[2] ?? 65534) >>> 0,
    gid: Number(account?.[3] ?? 65534) >>> 0,
    name: account?.[0] ?? 'nobody',
    switched: true,
  }
}

/** Options for a child process of PostgreSQL: its account, nothing of our environment, no hold on our folder. */
export function childOf(owner: Owner): { env: NodeJS.ProcessEnv; cwd: string; uid?: number; gid?: number } {
  const env: NodeJS.ProcessEnv = { PATH: '/usr/local/bin:/usr/bin:/bin', TZ: 'UTC' }
  // Without a locale macOS starts a thread inside the postmaster, which then refuses to run (not measured here).
  if (process.platform === 'darwin') env.LC_ALL = 'C'
  return { env, cwd: '/', ...(owner.switched ? { uid: owner.uid | 0, gid: owner.gid | 0 } : {}) }
}
