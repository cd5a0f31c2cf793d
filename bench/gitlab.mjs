/**
 * A first sync of a GitLab project, extraction to row, beside a bare `fetch` loop that makes the same requests in the
 * same order, one after the other, and throws the parsed answers away; each is a whole process. Against a server that
 * answers at once, which shows what the program costs, and one that takes as long as a quick GitLab. And the requests.
 */
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const ROUNDS = 3
// The list of the project with reviews is eleven requests, which is a start and no rate.
const READ = { commits: 'bench/project', mrs: 'bench/list', reviews: 'bench/project' }
const JOBS = Object.keys(READ)
const LATENCIES_MS = [0, 20]
const COMMITS = 20_000
const MERGE_REQUESTS = 1000
const LISTED = 10_000
const NOTES = 8
const root = fileURLToPath(new URL('..', import.meta.url))

export async function gitlabSyncs({ work, env, say }) {
  const server = fork(
    join(root, 'bench/gitlab-server.mjs'),
    [work, ...[COMMITS, MERGE_REQUESTS, NOTES, LISTED].map(String)],
    { stdio: 'inherit' },
  )
  try {
    const [{ url }] = await once(server, 'message')
    say(
      `GitLab, first sync of ${n(COMMITS)} commits, of a list of ${n(LISTED)} merge requests, and of ${n(MERGE_REQUESTS)} with ${NOTES} notes, 3 in 10 open
                                            requests        s   CPU s  peak MiB   fetch: s   CPU s   of its rate`,
    )
    const found = []
    // The first round fills the server's store.
    for (let round = 0; round <= ROUNDS; round++) {
      for (const latency of round === 0 ? [0] : LATENCIES_MS) {
        const own = { ...env, GITLAB_URL: `${url}/round${round}-${latency}`, GITLAB_TOKEN: 'any' }
        const of = { latency, quiet: 0 }
        for (const project of new Set(Object.values(READ)))
          await measured(['repos', 'add', `gitlab:${project}`], own)
        for (const job of JOBS) of[job] = await beside(server, url, work, job, own)
        of.listed = (await asked(server, READ.reviews, 'mrs', own)).length
        for (const job of ['mrs', 'reviews']) of.quiet += (await asked(server, READ.reviews, job, own)).length
        if (round === 0) continue
        for (const job of JOBS) row(say, `${job}, ${afterMs(latency)}, round ${round}`, of[job])
        found.push(of)
      }
    }
    say('')
    verdicts(say, found)
  } finally {
    server.disconnect()
  }
}

/** One job, and then the same requests bare. */
async function beside(server, url, work, job, env) {
  await take(server)
  const ours = await measured(runner(READ[job], job), env)
  const paths = await take(server)
  const file = join(work, 'urls')
  writeFileSync(file, paths.map((path) => url + path).join('\n'))
  const bare = await timed([join(root, 'bench/gitlab-fetch.mjs'), file], env)
  return { ours, bare, requests: paths.length, ratio: bare.seconds / ours.seconds }
}

/** What a job asks. */
async function asked(server, project, job, env) {
  await take(server)
  await measured(runner(project, job), env)
  return take(server)
}

const runner = (project, job) => ['runner', 'incremental', '--repo', `gitlab:${project}`, '--job', job]

function verdicts(say, rounds) {
  const median = (values) => values.sort((a, b) => a - b)[Math.floor(values.length / 2)]
  const worst = (of) => Math.max(...rounds.map(of))
  const verdict = (what, value, limit, isReached) =>
    say(`  ${isReached ? 'reached' : 'missed '}  ${what.padEnd(58)} ${value}, aimed at ${limit}`)

  for (const latency of LATENCIES_MS) {
    for (const job of JOBS) {
      const ratio = median(rounds.filter((r) => r.latency === latency).map((r) => r[job].ratio))
      const what = `${job}, ${afterMs(latency)}: share of the bare loop's rate`
      verdict(what, ratio.toFixed(2), '0.70 or more', ratio >= 0.7)
    }
  }
  const commits = worst((r) => r.commits.requests)
  const most = Math.ceil(COMMITS / 100) + 8
  verdict(`requests for ${n(COMMITS)} commits`, n(commits), `${n(most)} or less`, commits <= most)
  const reviews = worst((r) => r.listed + r.reviews.requests)
  const allowed = 3 * MERGE_REQUESTS + MERGE_REQUESTS / 100
  verdict('requests for mrs and reviews', n(reviews), `${n(allowed)} or less`, reviews <= allowed)
  const quiet = worst((r) => r.quiet)
  verdict('requests of a quiet second sync of mrs and reviews', n(quiet), '3 or less', quiet <= 3)
  const peak = worst((r) => Math.max(...JOBS.map((job) => r[job].ours.mebibytes)))
  verdict('peak memory, MiB', peak.toFixed(0), 'less than 150', peak < 150)
  say('')
}

function afterMs(latency) {
  return latency === 0 ? 'answers at once' : `answers after ${latency} ms`
}

function row(say, what, { ours, bare, requests, ratio }) {
  const cells = [
    [n(requests), 10],
    [ours.seconds.toFixed(2), 9],
    [ours.cpuSeconds.toFixed(2), 8],
    [ours.mebibytes.toFixed(0), 10],
    [bare.seconds.toFixed(2), 11],
    [bare.cpuSeconds.toFixed(2), 8],
    [ratio.toFixed(2), 14],
  ]
  say(`  ${what.padEnd(40)}${cells.map(([text, width]) => text.padStart(width)).join('')}`)
}

async function take(server) {
  server.send('take')
  const [said] = await once(server, 'message')
  return said
}

function measured(args, env) {
  return timed([join(root, 'bin/engram-scm-sync.js'), ...args], env)
}

/** A whole process: seconds, seconds of CPU, peak memory. */
async function timed(args, env) {
  const at = performance.now()
  const child = spawn(process.execPath, ['--require', join(root, 'bench/report-cpu.cjs'), ...args], {
    env,
    stdio: ['ignore', 'ignore', 'inherit', 'pipe'],
  })
  let text = ''
  child.stdio[3].on('data', (data) => {
    text += data
  })
  const [code] = await once(child, 'close')
  if (code !== 0) throw new Error(`${args.join(' ')} ended with ${code}`)
  const [cpu, kibibytes] = text.split(' ').map(Number)
  return {
    seconds: (performance.now() - at) / 1000,
    cpuSeconds: cpu / 1000,
    mebibytes: kibibytes / 1024,
  }
}

function n(value) {
  return value.toLocaleString('en')
}
