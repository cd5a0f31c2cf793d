import { existsSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { expect, test } from 'vitest'
import { SyncError } from '../../../../src/core/domain/errors.ts'
import { isHostOf, pathBelow } from '../../../../src/core/sources/svn/locate.ts'
import {
  accessTo,
  EVERYTHING,
  hasSvn,
  readPages,
  source,
  sourceWith,
  svnFolder,
} from '../../../helpers/svn.ts'

test.each([
  ['svn://Host.Example/r', 'svn://host.example/r'],
  ['SVN://h/r/', 'svn://h/r'],
  ['svn://h:3690/r', 'svn://h/r'],
  ['svn://h:03691/r', 'svn://h:3691/r'],
  ['http://h:80/r', 'http://h/r'],
  ['https://h:443/r//a/./b///', 'https://h/r/a/b'],
  ['https://h', 'https://h'],
  ['https://[2001:DB8::1]:8443/r', 'https://[2001:db8::1]:8443/r'],
  ['https://h/a%20b', 'https://h/a%20b'],
  ['https://h/a b', 'https://h/a%20b'],
  ['https://h/%7euser/%41', 'https://h/~user/A'],
  ['https://h/caf%c3%a9', 'https://h/caf%C3%A9'],
  ['https://h/café', 'https://h/caf%C3%A9'],
  ['https://h/b@2/c@', 'https://h/b@2/c@'],
  ['https://h/b%402', 'https://h/b@2'],
  ["https://h/!$&'()*+,-.:=~_", "https://h/!$&'()*+,-.:=~_"],
  ['https://h/a;b%3f%23%25', 'https://h/a%3Bb%3F%23%25'],
  ['https://h/-r', 'https://h/-r'],
])('%s is %s', (typed, canonical) => {
  expect(source.locate(typed)).toBe(canonical)
  expect(source.locate(canonical)).toBe(canonical)
})

test('what is only allowed when told', () => {
  const by = sourceWith({ allowed: ['svn+ssh', 'file'] })
  expect(by.locate('svn+ssh://me@Host:22/srv/r')).toBe('svn+ssh://me@host/srv/r')
  expect(by.locate('file:///srv/r/')).toBe('file:///srv/r')
  expect(by.locate('file://localhost/srv/r')).toBe('file:///srv/r')
  for (const typed of ['file://h/r', 'file://', 'svn+ssh://me:pw@h/r', 'svn+ssh://-oProxyCommand=x/r'])
    expect(() => by.locate(typed)).toThrow(SyncError)
})

test('credentials are for one host and port', () => {
  expect(isHostOf('H', 'svn://h/r')).toBe(true)
  expect(isHostOf('h:3690', 'svn://h/r')).toBe(true)
  expect(isHostOf('h:443', 'https://h/r')).toBe(true)
  for (const other of ['h:3691', 'x.h', 'h.x', '', 'h/r', 'u@h', 'h@h'])
    expect([other, isHostOf(other, 'svn://h/r')]).toEqual([other, false])
  expect(isHostOf('', 'file:///srv')).toBe(false)
})

test.each([
  ['svn://h/r', 'svn://h/r', ''],
  ['svn://h/r', 'svn://h/r/trunk/caf%C3%A9%20x', '/trunk/café x'],
  ['svn://h/r', 'svn://h/r2', null],
])('below %s, %s is %s', (root, url, path) => {
  expect(pathBelow(root, url)).toBe(path)
})

/** Addresses that would make svn, ssh or a shell do something else; %C stands for a program that must never run. */
const HOSTILE = [
  '',
  ' ',
  '-r',
  '--help',
  '--config-option=config:tunnels:x=%C',
  '--config-option=config:tunnels:x=%C svn+x://h/r',
  '--editor-cmd=%C',
  '--diff-cmd=%C',
  '-F/etc/passwd',
  '--targets=/etc/passwd',
  '%C',
  '`%C`',
  '$(%C)',
  'svn://$(%C)/r',
  'svn://`%C`/r',
  'svn://h;%C/r',
  'svn://h|%C/r',
  'svn://h&%C/r',
  'svn://h\n%C/r',
  'svn://h\r%C/r',
  'svn://h\0%C/r',
  'svn://h/r\n--diff-cmd=%C',
  'svn://h/r\u2028x',
  'svn://-oProxyCommand=%C/r',
  'svn+ssh://h/r',
  'svn+ssh://-oProxyCommand=%C/r',
  'svn+ssh://-oProxyCommand=%C@h/r',
  'svn+ssh://h:-oProxyCommand=%C/r',
  'svn+x://h/r',
  'svn+%C://h/r',
  'file:///etc/passwd',
  'file://%C',
  'file:/etc/passwd',
  'FILE:///etc',
  'ext::sh -c %C',
  'ssh://h/r',
  'git://h/r',
  'ftp://h/r',
  'javascript:%C',
  'data:,x',
  'http+unix://h/r',
  '//h/r',
  '/srv/r',
  './r',
  '^/trunk',
  'h:r',
  'me@h:r',
  'svn:h/r',
  'svn:/h/r',
  'svn:///r',
  'http:///r',
  'http://:80/r',
  'svn://user@h/r',
  'svn://user:s3cret@h/r',
  'https://s3cret@h/r',
  'https://user:s3cret@h@evil/r',
  'https://h/r?token=s3cret',
  'https://h/r#s3cret',
  'https://h:0/r',
  'https://h:65536/r',
  'https://h:1x/r',
  'https://h:/r:80@evil/',
  'https://[::1/r',
  'https://h]/r',
  'https://h%2f@evil/r',
  'https://%68/r',
  'https://h/a%2fb',
  'https://h/../r',
  'https://h/%2e%2e/r',
  'https://h/a%00b',
  'https://h/a%0ab',
  'https://h/a%e9b',
  'https://h/a%',
  'https://h/a\\b',
  'https://hé/r',
  `https://h/${'x'.repeat(5000)}`,
]

test(`none of ${HOSTILE.length} hostile addresses runs anything, is contacted, or shows its secret`, async () => {
  const ran = join(svnFolder(), 'ran')
  const folder = svnFolder()
  const canary = join(folder, 'canary')
  for (const name of ['canary', 'ssh', 'sh', 'svn'])
    writeFileSync(join(folder, name), `#!/bin/sh\necho "$0 $@" >> ${ran}\n`, { mode: 0o755 })
  expect(HOSTILE.length).toBeGreaterThanOrEqual(60)
  const by = sourceWith({ path: [folder, process.env.PATH].join(delimiter) })
  for (const typed of HOSTILE.map((text) => text.replaceAll('%C', canary))) {
    const error = await (async () =>
      readPages({ ...accessTo('svn://h/r'), locator: by.locate(typed) }, EVERYTHING, null, by))().catch(
      (error) => error,
    )
    expect([typed, error]).toEqual([typed, expect.objectContaining({ name: 'SyncError', kind: 'usage' })])
    expect(error.message).toMatch(/^[^\p{Cc}]{1,300}$/u)
    expect(`${error.message} ${error.hint}`).not.toContain('s3cret')
  }
  expect(existsSync(ran)).toBe(false)
})

test.runIf(hasSvn)(
  'what passes goes to svn behind two dashes and before a peg, whatever it looks like',
  async () => {
    const ran = join(svnFolder(), 'ran')
    const folder = svnFolder()
    const canary = join(folder, 'canary')
    writeFileSync(canary, `#!/bin/sh\necho "$0 $@" >> ${ran}\n`, { mode: 0o755 })
    for (const path of [
      '-r',
      '--diff-cmd=canary',
      '$(canary)',
      '`canary`',
      ';canary',
      'a@b@c',
      'a b',
      "'",
      '"',
      '%25s',
    ]) {
      const url = `svn://127.0.0.1:1/${path}`
      const by = sourceWith({ path: [folder, process.env.PATH].join(delimiter) })
      await expect(readPages(accessTo(url), EVERYTHING, null, by)).rejects.toMatchObject({ kind: 'network' })
    }
    expect(existsSync(ran)).toBe(false)
  },
)
