import { randomBytes } from 'node:crypto'
import { mkdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Access } from '../source.ts'
import { runGit } from './child.ts'
import { commonDirOf, type Repository } from './repository.ts'

/**
 * The objects of a repository and nothing else of it, seen through an empty repository of ours in the cache folder. Its
 * own config and info/attributes could make every file binary (core.bigFileThreshold, `-diff`) or change the text of a
 * diff (diff.indentHeuristic, diff.<driver>.xfuncname), and git 2.39 has no switch that turns info/attributes off.
 */
export async function bareObjects(repo: Repository, access: Pick<Access, 'cacheDir'>): Promise<Repository> {
  const { gitDir } = repo.git
  if (gitDir === null) return repo
  const objects = join(await commonDirOf(gitDir), 'objects')
  return { ...repo, git: { ...repo.git, gitDir: await emptyRepository(repo, access.cacheDir), objects } }
}

async function emptyRepository({ git, idBytes }: Repository, cacheDir: string): Promise<string> {
  const format = idBytes === 32 ? 'sha256' : 'sha1'
  const dir = join(cacheDir, `empty-${format}.git`)
  if ((await stat(dir).catch(() => null)) !== null) return dir
  await mkdir(cacheDir, { recursive: true, mode: 0o700 })
  const fresh = `${dir}.${randomBytes(6).toString('hex')}`
  const args = ['init', '--quiet', '--bare', '--template=', `--object-format=${format}`, fresh]
  try {
    await runGit({ ...git, gitDir: null }, 'making an empty repository', args)
    await rename(fresh, dir).catch(() => {}) // another worker's is as good
  } finally {
    await rm(fresh, { recursive: true, force: true })
  }
  return dir
}
