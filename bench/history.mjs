import { spawn } from 'node:child_process'
import { once } from 'node:events'

/** A repository of `count` commits: a main line, branches of ten merged back, one small file changed each time. */
export async function writeHistory(dir, count) {
  await run('git', ['init', '-q', '--bare', dir])
  const git = spawn('git', ['-C', dir, 'fast-import', '--quiet'], { stdio: ['pipe', 'inherit', 'inherit'] })
  const ended = once(git, 'exit')
  const body = 'Explain what changed and why, in the words of whoever did it. '.repeat(4)
  let last = 0
  for (let n = 1; n <= count; n++) {
    const merged = n % 11 === 0 && n > 11
    const parent = n === 1 ? '' : `from :${last}\n${merged ? `merge :${n - 10}\n` : ''}`
    const who = `Author ${n % 97} <author${n % 97}@example.com> ${1_200_000_000 + n * 600} +0200`
    const message = `Change ${n}\n\n${body}\n`
    const file = `M 100644 inline dir${n % 50}/file${n % 500}.txt\ndata ${String(n).length + 1}\n${n}\n`
    const text = `commit refs/heads/main\nmark :${n}\nauthor ${who}\ncommitter ${who}\ndata ${message.length}\n${message}${parent}${file}\n`
    if (!git.stdin.write(text)) await once(git.stdin, 'drain')
    last = n
  }
  git.stdin.end()
  await ended
}

export async function run(command, args, options = {}) {
  const child = spawn(command, args, { stdio: ['ignore', 'ignore', 'inherit'], ...options })
  const [code] = await once(child, 'exit')
  if (code !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${code}`)
}
