import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const here = fileURLToPath(new URL('.', import.meta.url))
const { dependencies } = JSON.parse(readFileSync(`${here}package.json`, 'utf8'))

/** The queues we are measured beside: packages of this folder alone, fetched when the bench is first run. */
export function installPeers() {
  if (Object.entries(dependencies).every(([name, version]) => installed(name) === version)) return
  process.stderr.write(`bench:queue: installing ${named()} into bench/queue/node_modules (npm ci)\n`)
  try {
    // Both say they want Node 22 and run on 20.
    const args = ['ci', '--prefix', here, '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error']
    execFileSync('npm', args, { stdio: ['ignore', 'ignore', 'pipe'] })
  } catch (error) {
    const code = /npm error code (\S+)/.exec(String(error.stderr))?.[1] ?? error.code ?? error.status
    process.stderr.write(
      `bench:queue: ${named()} could not be installed (${code}): is the package registry reachable?\n`,
    )
    process.exit(2)
  }
}

function installed(name) {
  const file = `${here}node_modules/${name}/package.json`
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version : null
}

export function named() {
  return Object.entries(dependencies)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')
}
