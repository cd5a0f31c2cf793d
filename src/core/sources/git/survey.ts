import type { Access, Ask, Heads, Survey } from '../source.ts'
import { type Git, runGit } from './child.ts'
import { headsOfRemote, listRemote } from './list-remote.ts'
import { isLocal } from './locate.ts'
import { mirrorDir, openMirror } from './mirror.ts'
import { type CommitsAsk, commitsAsk, refuseVanished } from './reading.ts'
import { peel, present, readHeads } from './refs.ts'
import { openLocal, type Repository } from './repository.ts'
import { between, freshOrSince, revListInput, type Walk, walk } from './walk.ts'

/** What reads would bring: refs from upstream itself, commits counted where their objects are at hand. Fetches nothing. */
export async function surveyOf(git: Git, access: Access, asks: Ask[]): Promise<Survey[]> {
  let repo: Repository | null
  let heads: Heads
  if (isLocal(access.locator)) {
    repo = await openLocal(git, access.locator)
    heads = await readHeads(repo)
  } else {
    heads = headsOfRemote(await listRemote(git, access.locator))
    repo = await openMirror(git, mirrorDir(access))
  }
  const peeled = repo === null ? null : await peel(repo, [...new Set(Object.values(heads))])
  for (const [name, id] of Object.entries(heads)) if (peeled?.get(id) === null) delete heads[name]

  const shas = [...new Set(Object.values(heads))]
  const atHand = shas.every((sha) => peeled?.get(sha) === sha) ? repo : null
  let whole: Promise<Walk> | null = null
  const wholeWalk = (repo: Repository): Promise<Walk> => {
    whole ??= walk(repo, shas, [])
    return whole
  }

  const count = async (ask: CommitsAsk): Promise<number | null> => {
    if (shas.length === 0) return 0
    if (ask.window === 'time') {
      if (atHand === null) return null
      return between(await wholeWalk(atHand), ask.since.getTime(), ask.until.getTime()).length
    }
    if (ask.refetch === null && movedOf(heads, ask.known) === 0) return 0
    if (atHand === null) return null
    const known = await present(atHand, Object.values(ask.known))
    if (ask.refetch === null) return countOf(atHand, shas, known)
    const all = await wholeWalk(atHand)
    if (ask.refetch === 'beginning') return all.length
    return freshOrSince(all, await walk(atHand, shas, known), ask.refetch.getTime()).length
  }

  const surveys: Survey[] = []
  for (const ask of asks.map(commitsAsk)) {
    refuseVanished(ask, heads, access.locator)
    const items = await count(ask)
    const moved = ask.window === 'heads' ? movedOf(heads, ask.known) : 0
    const note = items === null ? 'the commits are not fetched yet, so they cannot be counted' : null
    const names = new Set([...Object.keys(heads), ...(ask.window === 'heads' ? Object.keys(ask.known) : [])])
    surveys.push({ items, refs: { total: names.size, moved }, note })
  }
  return surveys
}

function movedOf(heads: Heads, known: Heads): number {
  const names = new Set([...Object.keys(heads), ...Object.keys(known)])
  return [...names].filter((name) => heads[name] !== known[name]).length
}

async function countOf(repo: Repository, heads: string[], not: string[]): Promise<number> {
  const { out } = await runGit(repo.git, 'counting commits', ['rev-list', '--count', '--stdin'], {
    input: revListInput(heads, not),
    ms: repo.git.deadlines.read,
  })
  return Number(out.toString())
}
