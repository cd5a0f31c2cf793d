import { SyncError } from '../../domain/errors.ts'
import { oneLine } from '../../domain/one-line.ts'
import type { Access } from '../source.ts'
import type { Client } from './http/client.ts'
import type { Place } from './locate.ts'
import { type Project, projectOf } from './records/project.ts'

/** What is known of a project is good for a day: asking each time would double the requests of a quiet sync. */
const FRESH_MS = 24 * 3_600_000

/**
 * The project as it was last seen, within a day; else asked for. An empty one, or one with something switched off, is
 * asked for each time: that may have changed, and nothing else would show it.
 */
export async function openProject(client: Client, place: Place, access: Access): Promise<Project> {
  return rememberedProject(access) ?? lookUpProject(client, place, access)
}

/** Asks GitLab, by number once that is known: a project that was renamed or moved is still the same one. */
export async function lookUpProject(client: Client, place: Place, access: Access): Promise<Project> {
  const { project_id: id, path: known } = access.settings
  const wanted = typeof id === 'number' ? id : place.project
  const project = projectOf(await answerFor(client, wanted, access))
  if (typeof wanted === 'number' && project.id !== wanted)
    throw new SyncError('upstream', `project ${wanted} was asked for, ${project.id} was answered`)

  if (typeof known === 'string' && known !== project.path)
    access.say(oneLine(`${known} is called ${project.path} now`))
  access.learn({
    project_id: project.id,
    path: project.path,
    default_branch: project.defaultBranch,
    state: project.state,
    merge_requests_off: project.mergeRequestsOff,
    web_url: project.webUrl,
    looked_at: new Date().toISOString(),
    ...(typeof known === 'string' && known !== project.path && { former_path: known }),
  })
  return project
}

async function answerFor(client: Client, wanted: number | string, access: Access): Promise<unknown> {
  try {
    const { json } = await client.get(`projects/${encodeURIComponent(wanted)}`, {}, { expect: 'object' })
    return json
  } catch (error) {
    if (!(error instanceof SyncError) || error.kind !== 'not_found') throw error
    access.learn({ state: 'gone', looked_at: null })
    throw new SyncError('not_found', `GitLab has no project ${oneLine(String(wanted))}`, {
      hint: 'it was deleted, or the token may not see it (scope read_api and a membership are needed); a new one of its name is taken up by repos add',
      cause: error,
    })
  }
}

function rememberedProject({ settings: s }: Access): Project | null {
  if (typeof s.project_id !== 'number' || typeof s.path !== 'string' || typeof s.looked_at !== 'string')
    return null
  if (s.state !== 'active' && s.state !== 'archived') return null
  if (s.merge_requests_off !== false) return null
  const age = Date.now() - Date.parse(s.looked_at)
  if (!(age >= 0 && age < FRESH_MS)) return null
  const text = (value: unknown) => (typeof value === 'string' ? value : null)
  return {
    id: s.project_id,
    path: s.path,
    defaultBranch: text(s.default_branch),
    state: s.state,
    mergeRequestsOff: false,
    webUrl: text(s.web_url),
  }
}
