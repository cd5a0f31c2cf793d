import { constants } from 'node:fs'
import { access, readFile, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { SyncError } from '../../domain/errors.ts'
import { oneLine } from '../../domain/one-line.ts'
import { type Git, runGit } from './child.ts'

/** A repository that stands on this machine, ready to be read. */
export interface Repository {
  git: Git
  /** Bytes of an object id: 20 (sha1) or 32 (sha256). */
  idBytes: number
}

/** Opens the repository in the folder named. Never walks up: a mistyped path must not read its neighbour. */
export async function openLocal(git: Git, folder: string): Promise<Repository> {
  const gitDir = await findGitDir(folder)
  const commonDir = await commonDirOf(gitDir)
  if (await notEmpty(join(commonDir, 'shallow'))) throw shallow(folder, `git -C ${folder} fetch --unshallow`)
  return openRepository({ ...git, gitDir, reach: null })
}

export function shallow(locator: string, hint: string): SyncError {
  return new SyncError('unsupported', oneLine(`${locator} is a shallow clone: its history is cut off`), {
    hint,
  })
}

/** Asks git itself whether it can read what stands in git.gitDir. */
export async function openRepository(git: Git): Promise<Repository> {
  const { out } = await runGit(git, 'opening the repository', ['rev-parse', '--show-object-format'])
  return { git, idBytes: out.toString().trim() === 'sha256' ? 32 : 20 }
}

async function findGitDir(folder: string): Promise<string> {
  const inside = join(folder, '.git')
  const kind = await kindOf(inside)
  if (kind === 'folder') return readable(inside)
  if (kind === 'file') return readable(await gitDirNamedBy(inside))
  if ((await kindOf(join(folder, 'HEAD'))) === 'file' && (await kindOf(join(folder, 'objects'))) === 'folder')
    return readable(folder)

  const top = await topFolderAbove(folder)
  throw new SyncError('not_found', oneLine(`${folder} is not a git repository`), {
    ...(top === null ? {} : { hint: `name the top folder of the repository: ${top}` }),
  })
}

/** A linked work tree or a submodule has a file `.git` that says where the repository is. */
async function gitDirNamedBy(file: string): Promise<string> {
  const text = (await readFile(file)).subarray(0, 4096).toString()
  const named = /^gitdir: (.+?)\r?\n?$/.exec(text)?.[1]
  if (named === undefined) throw new SyncError('not_found', oneLine(`${file} names no repository`))
  return resolve(dirname(file), named)
}

/** Where refs and objects are: for a linked work tree that is the main repository. */
export async function commonDirOf(gitDir: string): Promise<string> {
  const text = await readFile(join(gitDir, 'commondir'), 'utf8').catch(() => null)
  return text === null ? gitDir : resolve(gitDir, text.trim())
}

async function topFolderAbove(folder: string): Promise<string | null> {
  for (let at = dirname(folder); at !== dirname(at); at = dirname(at))
    if ((await kindOf(join(at, '.git')).catch(() => null)) !== null) return at
  return null
}

async function kindOf(path: string): Promise<'file' | 'folder' | null> {
  try {
    return (await stat(path)).isDirectory() ? 'folder' : 'file'
  } catch (cause) {
    if (isForbidden(cause)) throw forbidden(path, cause)
    return null
  }
}

async function readable(gitDir: string): Promise<string> {
  try {
    await access(gitDir, constants.R_OK | constants.X_OK)
    return gitDir
  } catch (cause) {
    if (isForbidden(cause)) throw forbidden(gitDir, cause)
    throw new SyncError('not_found', oneLine(`${gitDir} is not there`), { cause })
  }
}

async function notEmpty(path: string): Promise<boolean> {
  return ((await stat(path).catch(() => null))?.size ?? 0) > 0
}

function isForbidden(cause: unknown): boolean {
  return ['EACCES', 'EPERM'].includes((cause as NodeJS.ErrnoException).code ?? '')
}

function forbidden(path: string, cause: unknown): SyncError {
  return new SyncError('permission', oneLine(`no permission to read ${path}`), {
    cause,
    hint: 'let the worker read the repository',
  })
}
