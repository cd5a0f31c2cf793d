import { execFileSync, spawn } from 'node:child_process'
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { SyncError } from '../../../src/core/domain/errors.ts'
import { ownTrigger } from '../../../src/core/domain/trigger.ts'
import { readTrigger, type TriggerFlags } from '../../../src/core/runtime/trigger.ts'

const redact = (text: string) => text.replaceAll('glpat-secret', '[redacted]')
const read = (flags: TriggerFlags, env: NodeJS.ProcessEnv = {}) =>
  readTrigger(flags, env, { newId: () => 'made', redact })

test('nothing said is a trigger of our own', () => {
  expect(read({})).toEqual(ownTrigger('made'))
  expect(read({}, { ENGRAM_SCHEDULER_JOB_ID: '' })).toEqual(ownTrigger('made'))
})

test('everything by the environment, and a flag wins', () => {
  const env = {
    ENGRAM_SCHEDULER_CODE: 'xxl',
    ENGRAM_SCHEDULER_JOB_ID: '7',
    ENGRAM_SCHEDULER_LOG_ID: '4711',
    ENGRAM_TRIGGER_TYPE: 'retry',
    ENGRAM_TRIGGERED_AT: '1735689600000',
    ENGRAM_TRIGGER_PARAMS: '{"repo":"git:1"}',
    ENGRAM_CORRELATION_ID: 'nightly',
    ENGRAM_SHARD: '1/3',
  }
  const all = {
    schedulerCode: 'XXL',
    jobId: '7',
    logId: '4711',
    triggerType: 'RETRY',
    triggeredAt: new Date('2025-01-01T00:00:00Z'),
    params: { repo: 'git:1' },
    correlationId: 'nightly',
    shard: { index: 1, total: 3 },
  }
  expect(read({}, env)).toEqual(all)
  expect(read({ 'scheduler-log-id': '4712', 'triggered-at': '2025-01-01T01:00:00+01:00' }, env)).toEqual({
    ...all,
    logId: '4712',
  })
})

test('a job without a code is XXL-Job’s, and who is triggered is so by schedule', () => {
  expect(read({ 'scheduler-job-id': '7' })).toMatchObject({ schedulerCode: 'XXL', triggerType: 'SCHEDULE' })
  expect(read({ 'scheduler-code': 'CRON' })).toMatchObject({ jobId: null, triggerType: 'SCHEDULE' })
  expect(read({ 'scheduler-code': 'INTERNAL' })).toMatchObject({ triggerType: null })
})

test.each([
  [{ 'scheduler-code': 'XLL' }, '--scheduler-code "XLL" is not known', 'did you mean XXL?'],
  [{ 'scheduler-code': 'JENKINS' }, '--scheduler-code "JENKINS" is not known', 'it is one of XXL, QUARTZ'],
  [{ 'trigger-type': 'SHEDULE' }, '--trigger-type "SHEDULE" is not known', 'did you mean SCHEDULE?'],
  [{ 'scheduler-job-id': 'a b' }, 'is not an identifier', 'at most 64'],
  [{ 'scheduler-job-id': 'x'.repeat(65) }, 'is not an identifier', 'at most 64'],
  [{ 'scheduler-log-id': '1' }, 'says nothing without the job', '--scheduler-job-id'],
  [{ 'correlation-id': '\u001b[31m' }, 'is not an identifier', 'printable'],
  [{ 'triggered-at': '1735689600' }, 'is not a time', 'milliseconds'],
  [{ 'triggered-at': 'yesterday' }, 'is not a time', '2025-01-31'],
  [{ 'triggered-at': '9'.repeat(30) }, 'is not a time', 'milliseconds'],
  [{ 'trigger-params': 'git:1 commits' }, '--trigger-params is not JSON', 'a bare word needs its quotes'],
  [{ 'trigger-params': `"${'x'.repeat(65_536)}"` }, 'longer than 65536 bytes', undefined],
  [{ 'trigger-params': '['.repeat(30_000) + ']'.repeat(30_000) }, 'nested more than 64 deep', undefined],
  [{ 'trigger-params': '@/nowhere/at/all' }, 'ENOENT', undefined],
  [{ 'trigger-params': '@/dev/zero' }, '/dev/zero is neither a file nor a pipe', undefined],
  [{ 'trigger-params': '@/' }, '/ is neither a file nor a pipe', undefined],
  [{ 'trigger-params': '@/proc/self/environ' }, 'is not JSON', undefined],
  [{ shard: '3/3' }, '--shard "3/3" is not a shard', '0/3'],
  [{ shard: '0/0' }, 'is not a shard', '0/3'],
  [{ shard: '1' }, 'is not a shard', '0/3'],
] as [TriggerFlags, string, string | undefined][])('%j is refused', (flags, says, hint) => {
  let thrown: unknown
  try {
    read(flags)
  } catch (error) {
    thrown = error
  }
  expect(thrown).toBeInstanceOf(SyncError)
  expect(thrown).toMatchObject({ kind: 'usage', message: expect.stringContaining(says) })
  if (hint) expect((thrown as SyncError).hint).toContain(hint)
})

test('of a file no more is read than may be', () => {
  const folder = mkdtempSync(join(tmpdir(), 'trigger-'))
  try {
    const file = join(folder, 'params.json')
    const exact = `"${'x'.repeat(65_534)}"`
    writeFileSync(file, exact)
    expect(read({ 'trigger-params': `@${file}` }).params).toBe('x'.repeat(65_534))
    truncateSync(file, 2 ** 40) // a hole, which nobody could read as a whole
    expect(() => read({ 'trigger-params': `@${file}` })).toThrow('longer than 65536 bytes')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('of a pipe no more is read than may be, however it comes', () => {
  const folder = mkdtempSync(join(tmpdir(), 'trigger-'))
  try {
    const pipe = join(folder, 'params')
    execFileSync('mkfifo', [pipe])
    const written = (by: string) => {
      spawn('bash', ['-c', `(${by}) > "$0"`, pipe], { stdio: 'ignore' })
      return read({ 'trigger-params': `@${pipe}` }).params
    }
    expect(written(`echo '{"a":'; sleep 0.2; echo '1}'`)).toEqual({ a: 1 })
    expect(() => written('yes')).toThrow('longer than 65536 bytes')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

test('what stands before the @ of a URL is not kept', () => {
  const { params } = read({
    'trigger-params': '{"url":"https://u:hunter2@h/x","https://k@h":["a@b", "glpat-secret"]}',
  })
  expect(params).toEqual({ url: 'https://***@h/x', 'https://***@h': ['a@b', '[redacted]'] })
})

test('parameters are kept as the database can hold them, from a file too, and without secrets', () => {
  const folder = mkdtempSync(join(tmpdir(), 'trigger-'))
  try {
    const file = join(folder, 'params.json')
    writeFileSync(file, '{"a\\u0000":["glpat-secret", 1, null, {"__proto__": "\\ud800"}]}')
    const { params } = read({ 'trigger-params': `@${file}` })
    expect(JSON.stringify(params)).toBe('{"a�":["[redacted]",1,null,{"__proto__":"�"}]}')
  } finally {
    rmSync(folder, { recursive: true })
  }
})
