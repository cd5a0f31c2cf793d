import { execFileSync, spawn } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { freePort, hasSvn, onEnd, type SvnServer, svnFolder, untilOpen } from './svn.ts'

const APACHE = '/usr/sbin/apache2'
const MODULES = '/usr/lib/apache2/modules'
const NEEDED = ['mpm_event', 'authn_core', 'authn_file', 'auth_basic', 'authz_core', 'authz_user', 'dav']
const OF_SVN = ['dav_svn', 'authz_svn']

export const hasApache =
  hasSvn &&
  [APACHE, ...[...NEEDED, ...OF_SVN].map((name) => `${MODULES}/mod_${name}.so`)].every((file) =>
    existsSync(file),
  )
if (!hasApache) process.stderr.write('Subversion over http not tested: install libapache2-mod-svn\n')

export interface HttpOptions {
  /** Of its repositories; an empty one when absent. */
  dir?: string
  /** Who is let in; everybody when absent. */
  users?: Record<string, string>
  /** Whether the `conf/authz` of a repository says who may read what. */
  authz?: boolean
  tls?: { cert: string; key: string }
  /** More of Apache's language, for the whole server. */
  directives?: string
}

/** A real Apache with mod_dav_svn on loopback. */
export async function startHttpServer(options: HttpOptions = {}): Promise<SvnServer> {
  const { dir = svnFolder(), users, authz, tls, directives = '' } = options
  const own = svnFolder()
  // Started by root, its children are nobody.
  for (const folder of [dir, own]) chmodSync(folder, 0o755)
  const port = await freePort()
  const file = (name: string, text: string): string => {
    writeFileSync(join(own, name), text)
    return join(own, name)
  }
  const rules: string[] = []
  if (authz === true) rules.push('AuthzSVNReposRelativeAccessFile authz')
  if (users !== undefined)
    rules.push(
      'AuthType Basic',
      'AuthName "Subversion of a test"',
      `AuthUserFile ${file('users', Object.entries(users).map(hashed).join(''))}`,
      'Require valid-user',
    )
  const config = `
ServerRoot "${own}"
ServerName 127.0.0.1
Listen 127.0.0.1:${port}
PidFile "${own}/pid"
ErrorLog "${own}/log"
User #65534
Group #65534
StartServers 1
MinSpareThreads 1
ThreadsPerChild 16
${[...NEEDED, ...(tls ? ['ssl'] : []), ...OF_SVN].map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`).join('\n')}
${tls ? `SSLEngine on\nSSLCertificateFile "${tls.cert}"\nSSLCertificateKeyFile "${tls.key}"` : ''}
<Location "/">
  DAV svn
  SVNParentPath "${dir}"
  ${rules.join('\n  ')}
</Location>
${directives}
`
  const child = spawn(APACHE, ['-f', file('conf', config), '-DFOREGROUND'], { stdio: 'ignore' })
  const ended = new Promise((end) => child.on('close', end))
  onEnd(async () => {
    child.kill('SIGTERM') // SIGKILL would leave its children
    await ended
  })
  await untilOpen(port).catch((error) => {
    throw new Error(readFileSync(join(own, 'log'), 'utf8'), { cause: error })
  })
  return { url: `${tls ? 'https' : 'http'}://127.0.0.1:${port}`, dir }
}

function hashed([user, password]: [string, string]): string {
  const digest = execFileSync('openssl', ['passwd', '-apr1', '-stdin'], { input: password })
  return `${user}:${digest}`
}
