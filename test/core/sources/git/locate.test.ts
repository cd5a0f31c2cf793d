import { mkdirSync, symlinkSync } from 'node:fs'
import { join, relative } from 'node:path'
import { expect, test } from 'vitest'
import { SyncError } from '../../../../src/core/domain/errors.ts'
import { locate } from '../../../../src/core/sources/git/locate.ts'
import { makeRepo, tempFolder } from '../../../helpers/git-repo.ts'

function refusal(typed: string): SyncError {
  try {
    locate(typed)
  } catch (error) {
    if (error instanceof SyncError) return error
    throw error
  }
  throw new Error(`${JSON.stringify(typed)} was accepted as ${locate(typed)}`)
}

test('addresses have one canonical form', () => {
  const table: [string, string][] = [
    ['https://Host.Example/Group/x.git', 'https://host.example/Group/x.git'],
    ['HTTPS://host.example:443/x/', 'https://host.example/x'],
    ['https://host.example:8443/x.git//', 'https://host.example:8443/x.git'],
    ['http://host.example:80/x', 'http://host.example/x'],
    ['http://host.example/a/../b', 'http://host.example/b'],
    ['http://2130706433/x', 'http://127.0.0.1/x'],
    ['http://[::1]:8080/x', 'http://[::1]:8080/x'],
    ['git://host.example:9418/x', 'git://host.example/x'],
    ['ssh://git@Host.Example:22/g/x.git', 'ssh://git@host.example/g/x.git'],
    ['ssh://host.example:2222/~/x', 'ssh://host.example:2222/~/x'],
    ['git@host.example:g/x.git', 'ssh://git@host.example/g/x.git'],
    ['git@host.example:/g/x.git/', 'ssh://git@host.example/g/x.git'],
    ['host.example:x.git', 'ssh://host.example/x.git'],
    ['https://host.example/x/.git/', 'https://host.example/x/.git'],
  ]
  for (const [typed, canonical] of table) {
    expect(locate(typed)).toBe(canonical)
    expect(locate(canonical)).toBe(canonical)
  }
})

test('a path is made absolute and real, and /x and /x/.git are one repository', () => {
  const repo = makeRepo()
  const folder = tempFolder()
  symlinkSync(repo.dir, join(folder, 'link'))
  mkdirSync(join(folder, 'a b%20c'))
  for (const typed of [
    repo.dir,
    `${repo.dir}/`,
    `${repo.dir}/.git`,
    `${repo.dir}/.git/`,
    join(folder, 'link'),
    relative(process.cwd(), repo.dir),
    `file://${repo.dir}`,
    `file://localhost${repo.dir}/.git`,
  ])
    expect(locate(typed)).toBe(repo.dir)
  expect(locate(`file://${folder}/a%20b%2520c`)).toBe(join(folder, 'a b%20c'))
  expect(refusal(join(folder, 'no')).kind).toBe('not_found')
})

test('hostile addresses are refused in one line, with a remedy', () => {
  const table = [
    '',
    'ext::sh -c touch% /tmp/x',
    'EXT::sh -c id',
    'fd::17',
    'fd::17,18/x',
    'foo::bar',
    'transport::https://host/x',
    'http::http://host/x',
    '::x',
    '-',
    '--upload-pack=touch /tmp/x',
    '-u./x',
    '--',
    '-oProxyCommand=id:x',
    'ssh://-oProxyCommand=id/x',
    'ssh://-oProxyCommand=id@host/x',
    'ssh://host/-x',
    'ssh://host/%2dx',
    'ssh://git@-host/x',
    'git@-oProxyCommand=id:x',
    'git@host:-x',
    'git@host:--upload-pack=x',
    'git@host:',
    'git://-host/x',
    'git://user@host/x',
    'git://host/x%0ahost=evil',
    'https://-host/x',
    'https://host',
    'https://host/',
    'https:///x',
    'https://host:99999/x',
    'https://host:0/x',
    'https://host:1:2/x',
    'https://host/x?private_token=s3cret',
    'https://host/x#s3cret',
    'https://host\\@evil/x',
    'https://ho st/x',
    'https://host/x\u0000',
    'https://host/x\ny',
    'https://host/x\r',
    'https://host/x\u001b[31m',
    'https://host/x%00',
    'https://host/x%0d%0ay',
    'https://[::1/x',
    'https://ho%73t/x',
    '/x\u0000y',
    'ftp://host/x',
    'ftps://host/x',
    'rsync://host/x',
    'javascript://host/x',
    'file://host/x',
    'file:///x%00',
    'file:///tmp?x',
    `https://host/${'x'.repeat(5000)}`,
  ]
  for (const typed of table) {
    const error = refusal(typed)
    expect([typed, error.kind]).toEqual([typed, 'usage'])
    expect(error.message).not.toMatch(/[\p{Cc}]/u)
    expect(error.message.length).toBeLessThanOrEqual(300)
    expect(error.message).not.toContain('s3cret')
    expect(error.hint).toBeTruthy()
  }
})

test('an address with a secret is refused without showing it, and the remedy says where secrets go', () => {
  const table = [
    'https://user@host.example/x',
    'https://user:s3cret@host.example/x',
    'https://:s3cret@host.example/x',
    'https://s3cret@host.example/x',
    'http://oauth2:s3c/ret@host.example/x',
    'https://user:p@s3cret@host.example/x',
    'ssh://git:s3cret@host.example/x',
    'git:s3cret@host.example:x',
    'https://user:s3cret with space@host.example/x',
  ]
  for (const typed of table) {
    const error = refusal(typed)
    expect(error.kind).toBe('usage')
    expect(`${error.message}${error.hint}`).not.toMatch(/s3c/)
    expect(error.message).toContain('***@host.example')
  }
  expect(refusal('https://user:s3cret@host.example/x').hint).toMatch(
    /\[scm\.git\] username and password_file.*SCM_GIT_USERNAME.*SCM_GIT_PASSWORD/,
  )
})
