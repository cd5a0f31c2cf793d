import { expect, test } from 'vitest'
import { locate, placeOf } from '../../../../src/core/sources/gitlab/locate.ts'

const HOME = 'https://gitlab.example.com'
const known = { home: HOME, instances: [HOME, 'https://git.example.org/gitlab', 'http://127.0.0.1:8080'] }

test.each<[why: string, typed: string, locator: string]>([
  ['a number is a project of the home instance', '123', `${HOME}/projects/123`],
  ['zeros before it say nothing', '0123', `${HOME}/projects/123`],
  ['a path', 'group/app', `${HOME}/group/app`],
  ['a path with groups in groups', 'a/b/c/d', `${HOME}/a/b/c/d`],
  ['slashes around it and .git are no part of it', '/group/app.git/', `${HOME}/group/app`],
  ['letters of any language', 'gruppe/prüfung', `${HOME}/gruppe/prüfung`],
  ['a whole URL', 'https://GitLab.example.com:443/group/app/', `${HOME}/group/app`],
  ['a URL as git has it', `${HOME}/group/app.git`, `${HOME}/group/app`],
  ['percent signs', `${HOME}/gruppe/pr%C3%BCfung`, `${HOME}/gruppe/prüfung`],
  ['an instance below a path', 'https://git.example.org/gitlab/g/p', 'https://git.example.org/gitlab/g/p'],
  ['a locator is its own locator', `${HOME}/projects/7`, `${HOME}/projects/7`],
  ['a port', 'http://127.0.0.1:8080/g/p', 'http://127.0.0.1:8080/g/p'],
])('%s', (_why, typed, locator) => {
  expect(locate(typed, known)).toBe(locator)
  expect(locate(locator, known)).toBe(locator)
})

test.each<[typed: string, kind: string]>([
  ['https://evil.example/g/p', 'config'],
  ['https://gitlab.example.com.evil.example/g/p', 'config'],
  ['http://gitlab.example.com/g/p', 'config'], // another scheme is another instance: no token goes there in the clear
  ['https://gitlab.example.com:8443/g/p', 'config'],
  ['https://git.example.org/other/g/p', 'config'],
  ['https://0x7f000001/g/p', 'config'],
  ['https://user@gitlab.example.com/g/p', 'usage'],
  ['https://user:s3cr3t@gitlab.example.com/g/p', 'usage'],
  ['https://gitlab.example.com/g/p?private_token=s3cr3t', 'usage'],
  ['https://gitlab.example.com/g/p#s3cr3t', 'usage'],
  ['https://gitlab.example.com/g', 'usage'],
  ['https://gitlab.example.com/', 'usage'],
  ['https://gitlab.example.com/g/%2e%2e', 'usage'],
  ['https://gitlab.example.com/g/p/-/merge_requests', 'usage'],
  ['https://gitlab.example.com/g/%zz', 'usage'],
  ['ssh://gitlab.example.com/g/p', 'usage'],
  ['ftp://gitlab.example.com/g/p', 'usage'],
  ['0', 'usage'],
  ['-5', 'usage'],
  ['1e3', 'usage'],
  ['group', 'usage'],
  ['group/../other', 'usage'],
  ['group//app', 'usage'],
  ['-x/app', 'usage'],
  ['group/app?x', 'usage'],
  ['group/a b', 'usage'],
  ['projects/x', 'usage'],
  ['g/p\nX: y', 'usage'],
  ['g\\p/x', 'usage'],
  [`g/${'p'.repeat(2000)}`, 'usage'],
])('%s is refused', (typed, kind) => {
  let thrown: unknown
  try {
    locate(typed, known)
  } catch (error) {
    thrown = error
  }
  expect(thrown).toMatchObject({ kind })
  const told = `${(thrown as Error).message} ${(thrown as { hint: string }).hint}`
  expect(told).not.toContain('s3cr3t')
  expect(told).not.toMatch(/\p{Cc}/u)
})

test('a name needs a home instance, a URL does not', () => {
  expect(() => locate('123', { ...known, home: null })).toThrow(/names no GitLab/)
  expect(locate(`${HOME}/g/p`, { ...known, home: null })).toBe(`${HOME}/g/p`)
})

test('a locator is taken apart into what the API asks for, by the longest instance it lies in', () => {
  expect(placeOf(`${HOME}/projects/7`, known)).toEqual({ instance: HOME, project: 7 })
  expect(placeOf(`${HOME}/gruppe/prüfung`, known)).toEqual({ instance: HOME, project: 'gruppe/prüfung' })
  const nested = { instances: ['https://h.example', 'https://h.example/gitlab'] }
  expect(placeOf('https://h.example/gitlab/g/p', nested).instance).toBe('https://h.example/gitlab')
  expect(() => placeOf('https://gone.example/g/p', known)).toThrow(/no GitLab of the configuration/)
})
