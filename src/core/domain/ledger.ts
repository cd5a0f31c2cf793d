/** Keys of the ledger: equal asks have equal keys, different asks never. */
import { createHash } from 'node:crypto'

export type Json = null | boolean | number | string | Json[] | { [key: string]: Json }

/** Joins the parts of a key: cannot occur in any of them, so no two tuples collide. */
const SEPARATOR = '\u001f'

export function sha256(text: string): string {
  return createHash('sha256').update(text, 'utf8').digest('hex')
}

/** Sorted keys, no whitespace, nothing empty, array order kept, strings never turned into numbers. */
export function canonical(value: Json): string {
  return JSON.stringify(pruned(value))
}

export const hashOf = (value: Json): string => sha256(canonical(value))

export const taskKey = (t: {
  sliceSignature: string
  exprHash: string
  operation: string
  planKey: string
  params: Json
}): string => joined(t.sliceSignature, t.exprHash, t.operation, t.planKey, canonical(t.params))

export const batchKey = (runId: number, beforeToken: string): string =>
  joined(String(runId), 't', beforeToken)

export const cursorEventKey = (e: {
  namespace: string[]
  prev: string | null
  next: string
  windowFrom: string | null
  windowTo: string | null
  by: string
}): string => joined(...e.namespace, e.prev ?? '', e.next, e.windowFrom ?? '', e.windowTo ?? '', e.by)

/** `<operation>:<provenance>:<job>:<from>-<to>:<step>:<expression>`, at most 200 characters. */
export const planKey = (p: {
  operation: string
  provenance: string
  jobType: string
  from: string
  to: string
  step: string
  exprHash: string
}): string =>
  `${p.operation}:${p.provenance}:${p.jobType}:${p.from}-${p.to}:${p.step}:${p.exprHash.slice(0, 8)}`

/** AND[prototype, RANGE(field, window)]: what one slice asks of the upstream. */
export function localised(
  prototype: Json,
  field: string,
  { from, to, boundary }: { from: string | null; to: string | null; boundary: Json },
): Json {
  return {
    type: 'AND',
    children: [prototype, { type: 'ATOM', field, op: 'RANGE', value: { kind: 'RANGE', from, to, boundary } }],
  }
}

function joined(...parts: string[]): string {
  return sha256(parts.join(SEPARATOR))
}

function pruned(value: Json): Json {
  if (Array.isArray(value)) return value.map(pruned)
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value)
    .map(([k, v]) => [k, pruned(v)] as const)
    .filter(([, v]) => !isEmpty(v))
    .sort(([a], [b]) => (a < b ? -1 : 1))
  return Object.fromEntries(entries)
}

function isEmpty(value: Json): boolean {
  if (value === null || value === '') return true
  return typeof value === 'object' && Object.keys(value).length === 0
}
