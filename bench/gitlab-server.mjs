/**
 * The upstream of the GitLab bench, in a process of its own: the tests' scripted GitLab with two large projects behind a
 * store of its answers, so that what is measured is who asks. Any first segment of the path is taken for a relative root:
 * each is an instance of its own to a client, with the same projects. `/round1-20` answers after 20 ms. Forked: tells what
 * was asked since it was asked for that last.
 */
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { build } from 'esbuild'

const [work, ...counts] = process.argv.slice(2)
const [commits, mergeRequests, notes, listed] = counts.map(Number)
const scripted = join(work, 'scripted-gitlab.mjs')
const { outputFiles } = await build({
  entryPoints: [fileURLToPath(new URL('../test/helpers/gitlab/server.ts', import.meta.url))],
  bundle: true,
  write: false,
  platform: 'node',
  format: 'esm',
})
writeFileSync(scripted, outputFiles[0].contents)
const { startGitLab } = await import(pathToFileURL(scripted).href)
const gitlab = await startGitLab()
fill(gitlab.project({ id: 1, path: 'bench/project', maxTotal: 1_000_000 }), { commits, mergeRequests, notes })
fill(gitlab.project({ id: 2, path: 'bench/list' }), { commits: 0, mergeRequests: listed, notes: 0 })

const answers = new Map()
let asked = []

const server = createServer({ keepAliveTimeout: 60_000 }, async (request, response) => {
  const [path, delayMs] = [
    request.url.replace(/^\/[^/]+/, ''),
    Number(/^\/\w+-(\d+)\//.exec(request.url)?.[1]),
  ]
  asked.push(request.url)
  let answer = answers.get(path)
  if (answer === undefined) {
    const given = await fetch(gitlab.url + path, { headers: { 'private-token': 'any' } })
    const headers = Object.fromEntries(given.headers)
    for (const own of ['connection', 'keep-alive', 'date', 'transfer-encoding']) delete headers[own]
    answer = { status: given.status, headers, body: Buffer.from(await given.arrayBuffer()) }
    answers.set(path, answer)
    if (answers.size % 500 === 0) gitlab.requests.length = 0
  }
  const send = () => response.writeHead(answer.status, answer.headers).end(answer.body)
  if (delayMs > 0) setTimeout(send, delayMs)
  else send()
})
server.listen(0, '127.0.0.1')
await once(server, 'listening')
process.on('message', () => {
  process.send(asked)
  asked = []
})
process.on('disconnect', () => process.exit())
process.send({ url: `http://127.0.0.1:${server.address().port}` })

function fill(project, { commits, mergeRequests, notes }) {
  const body = 'Explain what changed and why, in the words of whoever did it. '.repeat(4)
  const began = Date.UTC(2020, 0, 1)
  for (let n = 1; n <= commits; n++)
    project.commit({ branch: 'main', message: `Change ${n}\n\n${body}\n`, at: began + n * 600_000 })
  for (let n = 1; n <= mergeRequests; n++) {
    const at = began + n * 60_000
    const iid = project.mr({ title: `Merge request ${n}`, description: body, author: `author${n % 97}`, at })
    for (let i = 0; i < notes; i++)
      project.note(iid, { body, author: `author${i}`, system: i % 4 === 3, at: at + i })
    if (n % 10 >= 3) project.mergeMr(iid, { at: at + 30_000 }) // of the others approvals are asked for, too
  }
}
