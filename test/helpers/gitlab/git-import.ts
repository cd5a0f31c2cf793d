import { execFileSync } from 'node:child_process'
import { type ChangedFile, EMPTY_TREE, type GraphCommit, type Signature } from './history.ts'

/** A real repository's branches, tags and commits, as a GitLab that holds it would know them. */
export interface Imported {
  defaultBranch: string
  commits: GraphCommit[]
  branches: Map<string, string>
  tags: Map<string, { target: string; sha: string | null }>
}

export function readGit(dir: string): Imported {
  const git = (input: string, ...args: string[]): Buffer =>
    execFileSync('git', args, {
      cwd: dir,
      input,
      maxBuffer: 1 << 30,
      env: { PATH: process.env.PATH ?? '', LC_ALL: 'C.UTF-8', GIT_CONFIG_NOSYSTEM: '1' },
    })
  const lines = (...args: string[]): string[] =>
    git('', ...args)
      .toString()
      .split('\n')
      .filter(Boolean)

  const branches = new Map<string, string>()
  const targets = new Map<string, string>()
  const peeled = new Map<string, string>()
  for (const line of lines('for-each-ref', '--format=%(objectname) %(refname)', 'refs/heads', 'refs/tags')) {
    const [sha, name] = [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]
    if (name.startsWith('refs/heads/')) branches.set(name.slice(11), sha)
    else targets.set(name.slice(10), sha)
  }
  const names = [...targets.keys()]
  const checked = git(names.map((name) => `refs/tags/${name}^{}\n`).join(''), 'cat-file', '--batch-check')
  checked
    .toString()
    .split('\n')
    .filter(Boolean)
    .forEach((line, i) => {
      const [sha, type] = line.split(' ')
      if (type === 'commit') peeled.set(names[i] as string, sha as string)
    })
  const heads = [...new Set([...branches.values(), ...peeled.values()])]
  const shas = heads.length === 0 ? '' : git(`${heads.join('\n')}\n`, 'rev-list', '--stdin').toString()
  return {
    defaultBranch: git('', 'symbolic-ref', '--short', 'HEAD').toString().trim(),
    commits: objects(git(shas, 'cat-file', '--batch')).map(({ sha, bytes }) => {
      const commit = parsed(bytes)
      const from = commit.parents[0] ?? EMPTY_TREE
      return { ...commit, sha, files: once(() => changedFiles(git, from, sha)), raw: null }
    }),
    branches,
    tags: new Map([...targets].map(([name, target]) => [name, { target, sha: peeled.get(name) ?? null }])),
  }
}

function* split(batch: Buffer): Generator<{ sha: string; bytes: Buffer }> {
  for (let at = 0; at < batch.length; ) {
    const end = batch.indexOf(10, at)
    const [sha, , size] = batch.toString('latin1', at, end).split(' ')
    const from = end + 1
    yield { sha: sha as string, bytes: batch.subarray(from, from + Number(size)) }
    at = from + Number(size) + 1
  }
}

const objects = (batch: Buffer): { sha: string; bytes: Buffer }[] => [...split(batch)]

function parsed(bytes: Buffer): Omit<GraphCommit, 'sha' | 'files' | 'raw'> {
  const gap = bytes.indexOf('\n\n')
  const head = bytes.subarray(0, gap < 0 ? bytes.length : gap)
  const encoding = /^encoding (.+)$/m.exec(head.toString('latin1'))?.[1]
  const decode = decoder(encoding)
  const fields = decode(head).split('\n')
  const of = (key: string): string[] =>
    fields.filter((line) => line.startsWith(`${key} `)).map((line) => line.slice(key.length + 1))
  return {
    parents: of('parent'),
    author: signature(of('author')[0] ?? ''),
    committer: signature(of('committer')[0] ?? ''),
    message: gap < 0 ? '' : decode(bytes.subarray(gap + 2)),
  }
}

/** Bytes that are no UTF-8 come out as U+FFFD: what GitLab guesses there is not modelled. */
function decoder(encoding: string | undefined): (bytes: Buffer) => string {
  try {
    const text = new TextDecoder(encoding ?? 'utf-8', { ignoreBOM: true })
    return (bytes) => text.decode(bytes)
  } catch {
    return (bytes) => bytes.toString()
  }
}

function signature(line: string): Signature {
  const [open, close] = [line.indexOf('<'), line.lastIndexOf('>')]
  const [, seconds = '0', sign = '+', hours = '0', minutes = '0'] =
    /(-?\d+) ([+-])(\d{2})(\d{2})\s*$/.exec(line.slice(close + 1)) ?? []
  return {
    name: line.slice(0, Math.max(0, open)).trim(),
    email: line.slice(open + 1, Math.max(open + 1, close)),
    epochSeconds: Number(seconds),
    offsetMinutes: (sign === '-' ? -1 : 1) * (Number(hours) * 60 + Number(minutes)),
  }
}

/** Renames found, as in GitLab's diff and stats. A type change counts as its first half. */
function changedFiles(
  git: (input: string, ...args: string[]) => Buffer,
  from: string,
  to: string,
): ChangedFile[] {
  const show = (...how: string[]): Buffer => git('', 'diff-tree', '-r', '-M', ...how, from, to)
  const raw = show('--raw', '-z').toString().split('\0')
  const patches = show('-p')
    .toString()
    .split(/^(?=diff --git )/m)
  const files: ChangedFile[] = []
  for (let i = 0; i < raw.length && raw[i]?.startsWith(':'); ) {
    const letter = raw[i]?.split(' ')[4]?.[0] as string
    const moved = letter === 'R' || letter === 'C'
    const [oldPath, path] = [raw[i + 1] as string, raw[i + (moved ? 2 : 1)] as string]
    i += moved ? 3 : 2
    const patch = patches[files.length] ?? ''
    const start = patch.search(/^@@/m)
    const diff = start < 0 ? '' : patch.slice(start)
    const count = (sign: string): number => diff.split('\n').filter((line) => line.startsWith(sign)).length
    files.push({
      path,
      oldPath,
      diff,
      additions: count('+'),
      deletions: count('-'),
      status: STATUS[letter] ?? 'modified',
    })
  }
  return files
}

const STATUS: Record<string, 'added' | 'deleted' | 'renamed'> = { A: 'added', D: 'deleted', R: 'renamed' }

function once<T>(read: () => T): () => T {
  const kept: T[] = []
  return () => {
    if (kept.length === 0) kept.push(read())
    return kept[0] as T
  }
}
