import { closeSync, existsSync, fstatSync, openSync, readFileSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import { parse, TomlError } from 'smol-toml'
import type { Problem } from './config-problem.ts'

const MAX_BYTES = 1_048_576 // a configuration is some ten kB; more is the wrong file

export interface Lookup {
  env: Record<string, string | undefined>
  file?: string | null
  cwd: string
  configHome: string | null
}

export interface ConfigFile {
  path: string
  /** As the operator wrote it; messages name it so. */
  shown: string
  tree: Record<string, unknown>
  /** Permission bits, or null where they mean nothing. */
  mode: number | null
}

/** The configuration file, parsed; null when there is none, a problem when a named one cannot be had. */
export function readConfigFile(lookup: Lookup): ConfigFile | Problem | null {
  const found = findConfigFile(lookup)
  if (!found) return null
  const { shown, named } = found
  const path = resolve(lookup.cwd, shown)

  let bytes: Buffer
  let mode: number
  try {
    const file = openSync(path, 'r')
    try {
      const stat = fstatSync(file)
      if (stat.isDirectory()) return { text: `${shown}: is a folder, not a configuration file` }
      if (stat.size > MAX_BYTES) return { text: `${shown}: is larger than ${MAX_BYTES} bytes` }
      mode = stat.mode & 0o777
      bytes = readFileSync(file)
    } finally {
      closeSync(file)
    }
  } catch (cause) {
    return {
      text: `${shown}: ${whyUnreadable(cause)}`,
      hint: named ? `it is named by ${named}` : undefined,
      cause,
    }
  }

  const tree = parseToml(bytes, shown)
  if ('text' in tree) return tree
  return { path, shown, tree: tree.tree, mode: process.platform === 'win32' ? null : mode }
}

export const FILE_NAMES = ['ENGRAM_SCM_CONFIG', 'ENGRAM_LOGBOOK_CONFIG']

function findConfigFile({
  env,
  file,
  cwd,
  configHome,
}: Lookup): { shown: string; named: string | null } | null {
  if (file) return { shown: file, named: '--config' }
  for (const name of FILE_NAMES) {
    const shown = env[name]
    if (shown) return { shown, named: name }
  }
  if (existsSync(join(cwd, 'config.toml'))) return { shown: 'config.toml', named: null }
  const home = configHome && join(configHome, 'engram-scm', 'config.toml')
  return home && existsSync(home) ? { shown: home, named: null } : null
}

function parseToml(bytes: Buffer, shown: string): { tree: Record<string, unknown> } | Problem {
  let text: string
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
  } catch {
    return { text: `${shown}: is not UTF-8 text` }
  }

  try {
    return { tree: parse(text) }
  } catch (error) {
    // Neither the cause nor the excerpt is kept: the line may hold a secret.
    if (!(error instanceof TomlError)) return { text: `${shown}: is not TOML` }
    const what = (error.message.split('\n')[0] ?? '').replace('Invalid TOML document: ', '')
    return {
      text: `${shown}:${error.line}:${error.column}: ${what}`,
      hint: 'see config.toml.example for the form',
    }
  }
}

const REASONS: Record<string, string> = {
  ENOENT: 'there is no such file',
  EACCES: 'may not be read by this user',
  ENOTDIR: 'there is no such file',
  EISDIR: 'is a folder, not a file',
}

export function whyUnreadable(error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : ''
  return REASONS[code] ?? `cannot be read${code && ` (${code})`}`
}

/** A path from the configuration: `~/` is the home folder, the rest is relative to where it was written. */
export function absolutePath(path: string, base: string, env: Lookup['env']): string {
  const home = env.HOME
  return path.startsWith('~/') && home ? join(home, path.slice(2)) : resolve(base, path)
}

export function folderOf(file: ConfigFile): string {
  return dirname(file.path)
}
