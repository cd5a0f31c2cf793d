/**
 * `npm run bench [-- <repository>]`: what a first sync costs, beside the floor (git alone, to nowhere) in the same run;
 * the same of a GitLab project, beside a bare fetch loop, and of a Subversion repository, beside `svn log`; and what it
 * costs to start. Read the ratios: absolute figures are this machine's, at this hour.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { cpus, loadavg, tmpdir, totalmem } from 'node:os'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { gitlabSyncs } from './gitlab.mjs'
import { run, writeHistory } from './history.mjs'
import { svnSyncs } from './svn.mjs'

const ROUNDS = 3
const STARTS = 10
const COMMITS = 100_000
const root = fileURLToPath(new URL('..', import.meta.url))
const work = mkdtempSync(join(tmpdir(), 'engram-bench-'))
chmodSync(work, 0o755)
const env = { ...process.env, ENGRAM_SCM_DATA_DIR: join(work, 'data'), ENGRAM_SCM_LOG_LEVEL: 'error' }
delete env.NODE_EXTRA_CA_CERTS // Node 20 parses it at every start: +45 to 70 ms that are not ours
for (const name of ['LOGBOOK_DSN', 'POSTGRES_DSN', 'DATABASE_URL']) delete env[name]

try {
  say(
    `${cpus().length} x ${cpus()[0]?.model}, ${Math.round(totalmem() / 2 ** 30)} GiB, load ${loadavg()[0]?.toFixed(1)}, Node ${process.version}, ${execFileSync('git', ['--version'], { encoding: 'utf8' }).trim()}`,
  )
  const repo = process.argv[2] ? resolve(process.argv[2]) : join(work, 'history.git')
  if (!process.argv[2]) await writeHistory(repo, COMMITS)
  const count = Number(
    execFileSync('git', ['-C', repo, 'rev-list', '--all', '--count'], { encoding: 'utf8' }),
  )
  say(`${count.toLocaleString('en')} commits in ${process.argv[2] ?? 'a generated repository'}\n`)

  await sync('db', 'up')
  await firstSyncs(repo, count)
  await gitlabSyncs({ work, env, say })
  await svnSyncs({ work, env, say })
  await starts()
} finally {
  await sync('db', 'down')
  rmSync(work, { recursive: true, force: true })
}

async function firstSyncs(repo, count) {
  say('first sync, extraction to row, no numstat          s     commits/s   x git log')
  const best = []
  for (let round = 1; round <= ROUNDS; round++) {
    const floor = await seconds(() => run('git', ['-C', repo, 'log', '--all', '--format=%H']))
    // A new registration each time: the same path through a different database would measure CREATE DATABASE too.
    const link = join(work, `round${round}.git`)
    await run('git', ['clone', '-q', '--mirror', '--shared', repo, link])
    await sync('repos', 'add', `git:${link}`)
    const ours = await seconds(() => sync('runner', 'incremental', '--repo', `git:${link}`))
    const quiet = await seconds(() => sync('runner', 'incremental', '--repo', `git:${link}`))
    row(`git log --all --format=%H > /dev/null`, floor, count / floor)
    row(`runner incremental, round ${round}`, ours, count / ours, ours / floor)
    row(`runner incremental again, nothing new`, quiet)
    best.push({ rate: count / ours, ratio: ours / floor })
  }
  best.sort((a, b) => a.rate - b.rate)
  const median = best[Math.floor(best.length / 2)]
  say(
    `median ${Math.round(median.rate).toLocaleString('en')} commits/s, ${median.ratio.toFixed(1)} x the floor\n`,
  )
}

async function starts() {
  say('start, CPU of the whole process (user + system)     ms min      median')
  const bare = await cpu(['-e', '0'])
  const help = await cpu([join(root, 'bin/engram-scm-sync.js'), '--help'])
  const status = await cpu([join(root, 'bin/engram-scm-status.js'), '--json'])
  for (const [what, ms] of [
    ['node -e 0', bare],
    ['engram-scm-sync --help', help],
    ['engram-scm-status --json (its 12 queries too)', status],
  ]) {
    say(
      `${what.padEnd(50)} ${ms[0].toFixed(0).padStart(6)} ${ms[Math.floor(ms.length / 2)].toFixed(0).padStart(10)}`,
    )
  }
}

/** Sorted CPU milliseconds of several starts. */
async function cpu(args) {
  const found = []
  for (let n = 0; n < STARTS; n++) {
    const child = spawn(process.execPath, ['--require', join(root, 'bench/report-cpu.cjs'), ...args], {
      env,
      stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
    })
    let text = ''
    child.stdio[3].on('data', (data) => {
      text += data
    })
    await once(child, 'close')
    found.push(Number.parseFloat(text))
  }
  return found.sort((a, b) => a - b)
}

function sync(...args) {
  return run(process.execPath, [join(root, 'bin/engram-scm-sync.js'), ...args], { env })
}

async function seconds(work) {
  const at = performance.now()
  await work()
  return (performance.now() - at) / 1000
}

function row(what, s, rate, ratio) {
  say(
    `  ${what.padEnd(42)} ${s.toFixed(2).padStart(8)} ${rate ? Math.round(rate).toLocaleString('en').padStart(12) : ''.padStart(12)} ${ratio ? ratio.toFixed(1).padStart(8) : ''}`,
  )
}

function say(line) {
  process.stdout.write(`${line}\n`)
}
