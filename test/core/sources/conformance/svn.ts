import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Access } from '../../../../src/core/sources/source.ts'
import {
  accessTo,
  type DumpRevision,
  dumpOf,
  load,
  makeRepository,
  type SvnServer,
  source,
  startServer,
} from '../../../helpers/svn.ts'
import { startHttpServer } from '../../../helpers/svn-http.ts'
import { openPipe } from './front.ts'
import { ofFront } from './git.ts'
import { restOfRevision } from './rows.ts'
import type { Truth, Upstream } from './upstream.ts'

const START = Math.floor(Date.now() / 3_600_000) * 3_600_000 - 30 * 86_400_000
const SECRET = 's3cr3t/+p@ss'

const servers = new Map<() => Promise<SvnServer>, Promise<SvnServer>>()
let made = 0

/** A repository behind svnserve that lets in only who knows the password. */
export const svnRepository = () => repositoryBehind(startServer)

/** The same behind Apache. */
export const svnOverHttp = () => repositoryBehind(apache)

const apache = () => startHttpServer({ users: { bot: SECRET } })

async function repositoryBehind(start: () => Promise<SvnServer>): Promise<Upstream> {
  const server = servers.get(start) ?? start()
  servers.set(start, server)
  const { url } = await server
  const name = `c${++made}`
  const repo = makeRepository(await server, name)
  writeFileSync(
    join(repo.dir, 'conf/svnserve.conf'),
    '[general]\nanon-access = none\nauth-access = write\npassword-db = passwd\n',
  )
  writeFileSync(join(repo.dir, 'conf/passwd'), `[users]\nbot = ${SECRET}\n`)
  const pipe = await openPipe(url)
  const typed = `${pipe.origin}/${name}`
  const credentials = { host: pipe.host, username: 'bot', password: SECRET }
  const access = (more: Partial<Access> = {}) => accessTo(typed, { credentials, ...more })
  const truth = new Map<string, Truth>()
  let rev = 0

  const put = (props: Record<string, string | Buffer>, at: number): void => {
    rev += 1
    const isFirst = rev === 1
    const node = isFirst
      ? ({ path: 't', kind: 'dir', action: 'add', props: {} } as const)
      : ({ path: `t/f${rev}`, kind: 'file', action: 'add', text: 'x\n', props: {} } as const)
    const revision: DumpRevision = { props: { 'svn:date': dateOf(at), ...props }, nodes: [node] }
    batch.push(revision)
  }
  let batch: DumpRevision[] = []
  const loaded = (): void => {
    load(repo, dumpOf(batch, rev - batch.length + 1))
    batch = []
  }
  const now = (): number => START + (rev + 1) * 60_000

  return {
    ...ofFront(pipe),
    kind: 'svn',
    job: 'commits',
    source,
    typed,
    settings: { 'scm.svn.username': 'bot', 'scm.svn.password': SECRET },
    access,
    add: (count) => {
      for (let n = 0; n < count; n++) {
        const [at, text] = [now(), `revision ${rev + 1}: é\n`]
        put({ 'svn:author': 'jörg', 'svn:log': text }, at)
        truth.set(`r${rev}`, { text, rest: restOfRevision({ author: 'jörg', at, pathCount: 1 }), at })
      }
      loaded()
    },
    change: () => {
      repo.revprop(2, 'svn:log', 'edited')
      Object.assign(truth.get('r2') as Truth, { text: 'edited' })
    },
    changesShow: 'when read again',
    hostile: () => {
      const texts: [bytes: Buffer | string, text: string, cleaned: string | null][] = [
        [Buffer.from('caf\xe9', 'latin1'), 'caf\uFFFD', 'message'],
        ['\x1b]0;owned\x07\u202e', '?\\027]0;owned?\\007\u202e', 'message'],
        ['long '.repeat(40_000), 'long '.repeat(40_000), null],
      ]
      const hostile = texts.map(([bytes, text, cleaned]) => {
        put({ 'svn:author': 'a', 'svn:log': bytes }, now())
        return { key: `r${rev}`, text, cleaned }
      })
      loaded()
      return hostile
    },
    truth: () => new Map(truth),
    unknown: () => ({
      source,
      access: accessTo(`${pipe.origin}/nowhere`, { credentials }),
      secret: SECRET,
    }),
    wrong: () => {
      const wrong = `${SECRET}-wrong`
      return { source, access: access({ credentials: { ...credentials, password: wrong } }), secret: wrong }
    },
    stop: async () => pipe.stop(),
  }
}

function dateOf(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}.000000Z`
}
