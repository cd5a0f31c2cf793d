import { mkdirSync, renameSync, rmSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { findRepo } from '../../../src/core/app/find-repo.ts'
import { registerRepo } from '../../../src/core/app/manage/repos.ts'
import { embeddedUrl } from '../../helpers/database.ts'
import { tempFolder } from '../../helpers/git-repo.ts'
import { openScene, type Scene } from '../../helpers/scene.ts'

let scene: Scene
beforeEach(async () => {
  scene = await openScene(embeddedUrl())
})
afterEach(() => scene.drop())

const number = async (typed: string) => (await findRepo(scene.ctx(), typed)).repoId

test('a folder that is gone is still called by the address it was registered under', async () => {
  const address = `git:${scene.repo.dir}`
  rmSync(scene.repo.dir, { recursive: true })
  expect(await number(address)).toBe(scene.repoId)
  await expect(scene.incremental()).resolves.toMatchObject({ error: expect.anything() })

  await expect(number(`${address}-2`)).rejects.toMatchObject({
    kind: 'not_found',
    message: expect.stringContaining('no such path'),
  })
  await expect(number('git:\u0000')).rejects.toMatchObject({ kind: 'usage' })
  const adding = registerRepo(scene.ctx(), { repo: address, projectKey: null })
  await expect(adding).rejects.toMatchObject({ kind: 'not_found' })
})

test('one that became a link to another keeps its address, too', async () => {
  const other = join(tempFolder(), 'other')
  mkdirSync(other)
  const added = await registerRepo(scene.ctx(), { repo: `git:${other}`, projectKey: null })
  renameSync(scene.repo.dir, `${scene.repo.dir}-moved`)
  symlinkSync(other, scene.repo.dir)
  try {
    expect(await number(`git:${scene.repo.dir}`)).toBe(scene.repoId)
    expect(await number(`git:${other}`)).toBe(added.repo_id)
    expect(await number(`git:${other}/`)).toBe(added.repo_id)
  } finally {
    rmSync(scene.repo.dir)
    rmSync(`${scene.repo.dir}-moved`, { recursive: true })
  }
})
