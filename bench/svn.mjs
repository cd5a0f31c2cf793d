/**
 * A first sync of a Subversion repository, extraction to row, beside the floor: `svn log --xml -v` of all of it, to
 * nowhere, by the same server. Over svnserve, and over Apache where it has mod_dav_svn.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { run } from './history.mjs'

const ROUNDS = 3
const REVISIONS = 20_000
const CHANGES = 50_000
const FOLDERS = 100
const BODY = 'Explain what changed and why, in the words of whoever did it. '.repeat(4)
const AIM = 5000 // revisions per second over svn://
const PORTS = { svn: 47_690, http: 47_680 }
const MODULES = '/usr/lib/apache2/modules'
const root = fileURLToPath(new URL('..', import.meta.url))

export async function svnSyncs({ work, env, say }) {
  if (!has('svnadmin')) return say('Subversion: not measured, its programs are not installed\n')
  // In memory where there is a place for it: a commit flushes its files, and 20,000 of them took minutes on a busy disk.
  const dir = mkdtempSync(join(existsSync('/dev/shm') ? '/dev/shm' : work, 'engram-bench-svn-'))
  chmodSync(dir, 0o755)
  try {
    await measure({ dir, work, env, say })
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}

async function measure({ dir, work, env, say }) {
  execFileSync('svnadmin', ['create', join(dir, 'r')])
  await load(join(dir, 'r'))
  say(
    `Subversion, first sync of ${n(REVISIONS)} revisions with ${n(CHANGES)} changed paths
                                                    s   revisions/s  x svn log`,
  )
  for (const [scheme, serve] of [
    ['svn', svnserve],
    ['http', apache],
  ]) {
    const server = serve(dir, work)
    if (server === null) {
      say('  over http: not measured, libapache2-mod-svn is not installed')
      continue
    }
    try {
      await untilOpen(PORTS[scheme])
      await beside(scheme, dir, env, say)
    } finally {
      server.kill()
      await once(server, 'close')
    }
  }
  say('')
}

async function beside(scheme, dir, env, say) {
  const found = []
  for (let round = 1; round <= ROUNDS; round++) {
    // A new registration each time: the same repository under another name.
    const name = `${scheme}${round}`
    symlinkSync(join(dir, 'r'), join(dir, name))
    const url = `${scheme}://127.0.0.1:${PORTS[scheme]}/${name}`
    const floor = await seconds(() =>
      run('svn', ['log', '--xml', '-v', '--non-interactive', '-r', '1:HEAD', url]),
    )
    await sync(env, 'repos', 'add', `svn:${url}`)
    const ours = await seconds(() => sync(env, 'runner', 'incremental', '--repo', `svn:${url}`))
    row(say, `svn log --xml -v ${scheme}:// > /dev/null`, floor, REVISIONS / floor)
    row(say, `runner incremental, round ${round}`, ours, REVISIONS / ours, ours / floor)
    found.push({ rate: REVISIONS / ours, ratio: ours / floor })
  }
  found.sort((a, b) => a.rate - b.rate)
  const { rate, ratio } = found[Math.floor(found.length / 2)]
  const verdict =
    scheme === 'svn' ? `, aimed at ${n(AIM)} or more: ${rate >= AIM ? 'reached' : 'missed'}` : ''
  say(
    `  median over ${scheme}: ${n(Math.round(rate))} revisions/s, ${ratio.toFixed(1)} x the floor${verdict}`,
  )
}

/** Each revision adds a file and changes one or two others: 2.5 paths. */
async function load(repo) {
  const child = spawn('svnadmin', ['load', '-q', '--no-flush-to-disk', repo], {
    stdio: ['pipe', 'ignore', 'inherit'],
  })
  const ended = once(child, 'close')
  const put = async (text) => child.stdin.write(text) || once(child.stdin, 'drain')
  await put('SVN-fs-dump-format-version: 2\n\n')
  let changes = 0
  for (let rev = 1; rev <= REVISIONS; rev++) {
    const props = {
      'svn:author': `author${rev % 97}`,
      'svn:date': dateOf(rev),
      'svn:log': `Change ${rev}\n\n${BODY}`,
    }
    const block = `${Object.entries(props)
      .map(([name, value]) => `K ${name.length}\n${name}\nV ${value.length}\n${value}\n`)
      .join('')}PROPS-END\n`
    const nodes = rev === 1 ? Array.from({ length: FOLDERS }, (_, i) => folder(`d${i}`)) : []
    nodes.push(file(`d${rev % FOLDERS}/f${rev}`, 'add', rev))
    for (let back = 1; back <= 2 && changes + nodes.length < rev * (CHANGES / REVISIONS); back++)
      if (rev > back * 7) nodes.push(file(`d${(rev - back * 7) % FOLDERS}/f${rev - back * 7}`, 'change', rev))
    changes += nodes.length
    await put(
      `Revision-number: ${rev}\nProp-content-length: ${block.length}\nContent-length: ${block.length}\n\n${block}\n${nodes.join('')}`,
    )
  }
  child.stdin.end()
  const [code] = await ended
  if (code !== 0) throw new Error(`svnadmin load ended with ${code}`)
}

function folder(path) {
  return `Node-path: ${path}\nNode-kind: dir\nNode-action: add\n\n\n`
}

function file(path, action, rev) {
  const text = `${rev}\n`
  return `Node-path: ${path}\nNode-kind: file\nNode-action: ${action}\nText-content-length: ${text.length}\nContent-length: ${text.length}\n\n${text}\n\n`
}

function dateOf(rev) {
  return `${new Date(1_200_000_000_000 + rev * 600_000).toISOString().slice(0, 19)}.000000Z`
}

function svnserve(dir) {
  const args = [
    '-d',
    '--foreground',
    '--listen-host',
    '127.0.0.1',
    '--listen-port',
    String(PORTS.svn),
    '-r',
    dir,
  ]
  return spawn('svnserve', args, { stdio: 'ignore' })
}

function apache(dir, work) {
  if (!existsSync(join(MODULES, 'mod_dav_svn.so'))) return null
  const own = join(work, 'apache')
  mkdirSync(own)
  chmodSync(own, 0o755)
  const config = `ServerRoot "${own}"
ServerName 127.0.0.1
Listen 127.0.0.1:${PORTS.http}
PidFile "${own}/pid"
ErrorLog "${own}/log"
User #65534
Group #65534
${['mpm_event', 'authz_core', 'dav', 'dav_svn'].map((name) => `LoadModule ${name}_module ${MODULES}/mod_${name}.so`).join('\n')}
<Location "/">
  DAV svn
  SVNParentPath "${dir}"
</Location>
`
  writeFileSync(join(own, 'conf'), config)
  return spawn('/usr/sbin/apache2', ['-f', join(own, 'conf'), '-DFOREGROUND'], { stdio: 'ignore' })
}

async function untilOpen(port) {
  for (let tries = 0; tries < 200; tries++) {
    const socket = connect(port, '127.0.0.1')
    const isOpen = await new Promise((told) =>
      socket.on('connect', () => told(true)).on('error', () => told(false)),
    )
    socket.destroy()
    if (isOpen) return
    await pause(25)
  }
  throw new Error(`nobody listens on port ${port}`)
}

function has(program) {
  try {
    execFileSync(program, ['--version', '-q'], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

function sync(env, ...args) {
  return run(process.execPath, [join(root, 'bin/engram-scm-sync.js'), ...args], { env })
}

async function seconds(work) {
  const at = performance.now()
  await work()
  return (performance.now() - at) / 1000
}

function row(say, what, s, rate, ratio) {
  say(
    `  ${what.padEnd(42)} ${s.toFixed(2).padStart(8)} ${n(Math.round(rate)).padStart(12)} ${ratio ? ratio.toFixed(1).padStart(8) : ''}`,
  )
}

function n(value) {
  return value.toLocaleString('en')
}
