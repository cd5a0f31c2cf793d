import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { gitSource } from '../../../../src/core/sources/git/git.ts'
import {
  accessTo,
  commitsOf,
  EVERYTHING,
  importHistory,
  makeRepo,
  readPages,
  shasOf,
  source,
  sourceWith,
  tempFolder,
} from '../../../helpers/git-repo.ts'

/** A program named git that does as told; the real one stays behind it in PATH. */
function fakeGit(script: string): string {
  const folder = tempFolder()
  writeFileSync(join(folder, 'git'), `#!/bin/sh\n${script}\n`, { mode: 0o755 })
  return [folder, process.env.PATH].join(delimiter)
}

function running(marker: string): string[] {
  return readdirSync('/proc').filter((pid) => {
    try {
      return /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/cmdline`, 'latin1').includes(marker)
    } catch {
      return false
    }
  })
}

test('a git that hangs is ended with its whole group, also children that ignore SIGTERM', async () => {
  const repo = makeRepo()
  const naps = `9${Math.floor(Math.random() * 1e8)}`
  const path = fakeGit(
    `(trap '' TERM; sleep ${naps}; sleep ${naps}) &\ntrap '' TERM\nsleep ${naps}; sleep ${naps}`,
  )
  const slow = sourceWith({ ask: 300 }, path)
  const started = performance.now()
  await expect(readPages(accessTo(repo.dir), EVERYTHING, null, slow)).rejects.toMatchObject({
    kind: 'timeout',
  })
  expect(performance.now() - started).toBeLessThan(6000)
  expect(running(naps)).toEqual([])
})

test('an abort ends the group at once, before, during and between pages', async () => {
  const repo = makeRepo()
  importHistory(repo, 7, 300)
  const naps = `8${Math.floor(Math.random() * 1e8)}`
  const during = new AbortController()
  const hung = readPages(
    accessTo(repo.dir, { signal: during.signal }),
    EVERYTHING,
    null,
    sourceWith({}, fakeGit(`sleep ${naps}`)),
  )
  setTimeout(() => during.abort(), 200)
  await expect(hung).rejects.toMatchObject({ kind: 'cancelled' })
  expect(running(naps)).toEqual([])

  await expect(readPages(accessTo(repo.dir, { signal: AbortSignal.abort() }))).rejects.toMatchObject({
    kind: 'cancelled',
  })

  const between = new AbortController()
  const reading = await source.open(
    accessTo(repo.dir, { signal: between.signal, pageSize: 5, tier: 'numstat' }),
  )
  let pages = 0
  const reads = (async () => {
    for await (const _ of reading.pages(EVERYTHING, null)) if (++pages === 2) between.abort()
  })()
  await expect(reads).rejects.toMatchObject({ kind: 'cancelled' })
  expect(pages).toBeLessThan(5)
})

test('a consumer that leaves early leaves no process behind', async () => {
  const repo = makeRepo()
  importHistory(repo, 8, 300)
  const reading = await source.open(accessTo(repo.dir, { pageSize: 5, tier: 'patch' }))
  for await (const _ of reading.pages(EVERYTHING, null)) break
  await pause(50)
  const ours = readdirSync('/proc').filter((pid) => {
    try {
      return (
        /^\d+$/.test(pid) && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(`GIT_DIR=${repo.dir}/`)
      )
    } catch {
      return false
    }
  })
  expect(ours).toEqual([])
})

test('git gets nothing of our environment but what was named', async () => {
  const repo = makeRepo()
  repo.commit('x')
  const folder = tempFolder()
  process.env.ENGRAM_CANARY = 'c4nary'
  process.env.GIT_TRACE = '1'
  const path = fakeGit(`env > ${folder}/env.$$\nPATH="${process.env.PATH}" exec git "$@"`)
  try {
    const by = gitSource({
      path,
      home: '/home/somebody',
      sshAuthSock: '/run/agent',
      network: { https_proxy: 'http://p', EVIL: '1' },
    })
    expect(shasOf(await readPages(accessTo(repo.dir, { tier: 'patch' }), EVERYTHING, null, by))).toHaveLength(
      1,
    )
  } finally {
    delete process.env.ENGRAM_CANARY
    delete process.env.GIT_TRACE
  }
  const seen = readdirSync(folder).map((name) => readFileSync(join(folder, name), 'utf8'))
  expect(seen.length).toBeGreaterThan(3)
  for (const env of seen) {
    expect(env).not.toMatch(/c4nary|GIT_TRACE|EVIL|^HOME=|SSH_AUTH_SOCK|proxy/m)
    expect(env).toMatch(/^GIT_ALLOW_PROTOCOL=$/m)
    expect(env).toMatch(/^GIT_NO_LAZY_FETCH=1$/m)
  }
})

test('a repository whose config names programs runs none of them', async () => {
  const repo = makeRepo()
  repo.feed(
    'commit refs/heads/main\ncommitter C <c@x> 1 +0000\ndata 0\nM 644 inline a.txt\ndata 2\nx\n\nM 644 inline .gitattributes\ndata 31\n* diff=evil filter=evil merge=e\n\n',
    'fast-import',
    '--quiet',
  )
  repo.git('reset', '-q', '--hard')
  const second = repo.git(
    'commit-tree',
    '-m',
    'y',
    '-p',
    'main',
    repo.feed(`100644 blob ${repo.feed('y\n', 'hash-object', '-w', '--stdin')}\ta.txt\n`, 'mktree'),
  )
  const third = repo.git('commit-tree', '-m', 'z', '-p', second, repo.git('mktree'))
  repo.git('update-ref', 'refs/heads/main', third)

  const ran = join(tempFolder(), 'ran')
  const canary = join(tempFolder(), 'canary')
  writeFileSync(canary, `#!/bin/sh\necho "$0 $@" >> ${ran}\ncat /dev/null\n`)
  chmodSync(canary, 0o755)
  const config: [string, string][] = [
    ['core.fsmonitor', canary],
    ['core.sshCommand', canary],
    ['core.pager', canary],
    ['core.editor', canary],
    ['core.askPass', canary],
    ['core.gitProxy', canary],
    ['core.alternateRefsCommand', canary],
    ['credential.helper', canary],
    ['diff.external', canary],
    ['diff.evil.command', canary],
    ['diff.evil.textconv', canary],
    ['filter.evil.smudge', canary],
    ['filter.evil.clean', canary],
    ['filter.evil.process', canary],
    ['gpg.program', canary],
    ['log.showSignature', 'true'],
    ['pager.rev-list', canary],
    ['pager.diff-tree', canary],
    ['alias.cat-file', `!${canary}`],
    ['alias.rev-list', `!${canary}`],
    ['uploadpack.packObjectsHook', canary],
    ['trace2.eventTarget', ran],
    ['protocol.ext.allow', 'always'],
    ['protocol.allow', 'always'],
    ['extensions.partialClone', 'origin'],
    ['remote.origin.url', `ext::${canary} %S`],
    ['remote.origin.promisor', 'true'],
    ['remote.origin.partialclonefilter', 'blob:none'],
    ['remote.origin.uploadpack', canary],
    ['remote.origin.vcs', 'ext'],
    ['core.repositoryformatversion', '1'],
  ]
  for (const [key, value] of config) repo.git('config', key, value)
  for (const hook of [
    'post-checkout',
    'reference-transaction',
    'post-index-change',
    'pre-auto-gc',
    'fsmonitor-watchman',
  ]) {
    mkdirSync(join(repo.dir, '.git/hooks'), { recursive: true })
    writeFileSync(join(repo.dir, '.git/hooks', hook), `#!/bin/sh\nexec ${canary} ${hook}\n`, { mode: 0o755 })
  }
  writeFileSync(join(repo.dir, '.git/info/attributes'), '* diff=evil\n')
  const blob = repo.git('rev-parse', 'main~2:a.txt')
  rmSync(join(repo.dir, '.git/objects', blob.slice(0, 2), blob.slice(2)))

  // The canary sings when git is called as people call it: for its config, and for the object that is missing.
  for (const command of [['status'], ['cat-file', '-p', blob]]) {
    try {
      repo.git(...command)
    } catch {
      // that command failing is not the point
    }
    expect([command, existsSync(ran)]).toEqual([command, true])
    rmSync(ran)
  }

  const commits = (await readPages(accessTo(repo.dir, { tier: 'patch' }))).flatMap((page) => commitsOf(page))
  expect(commits.map(({ tier, degraded }) => [tier, degraded])).toEqual([
    ['paths', 'missing_objects'],
    ['paths', 'missing_objects'],
    ['patch', null],
  ])
  await source.survey(accessTo(repo.dir), [EVERYTHING])
  expect(existsSync(ran)).toBe(false)
})
