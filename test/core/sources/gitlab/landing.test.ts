import { expect, test } from 'vitest'
import { gitlabHere, openedAt, readAll, Stored, since } from './commit-room.ts'

test('a server too weak to say who has a commit does not keep the heads from landing', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project({ id: 7 })
  const root = project.commit({ branch: 'main' })
  project.branch('topic', root)
  project.commit({ branch: 'topic' })
  const stored = new Stored()
  for (const page of await readAll(openedAt(gitlab, project))) stored.take(page)

  project.forcePush('topic', project.commit({ branch: null, parents: [root] }))
  gitlab.fault(({ route }) => (route === 'refs' ? { status: 503 } : null))
  for (const page of await readAll(openedAt(gitlab, project), since(stored.heads))) stored.take(page)
  expect(stored.heads['refs/heads/topic']).toBe(project.branches.get('topic'))
})

test('without a default branch, what all branches share is listed once', async () => {
  const gitlab = await gitlabHere()
  const project = gitlab.project({ id: 7 })
  for (let i = 0; i < 300; i++) project.commit({ branch: 'main' })
  const base = project.branches.get('main') as string
  for (let i = 0; i < 10; i++) project.branch(`b${i}`, project.commit({ branch: null, parents: [base] }))
  project.deleteBranch('main')
  project.defaultBranch = 'gone'
  gitlab.requests.length = 0
  await readAll(openedAt(gitlab, project))
  process.stderr.write(`310 commits, 10 branches, no default branch: ${gitlab.requests.length} requests\n`)
  expect(gitlab.requests.length).toBeLessThan(25)
})
