import { Fields } from './fields.ts'

export interface Project {
  id: number
  /** With its groups: `group/project`. */
  path: string
  defaultBranch: string | null
  /** What stands in the way of reading comes first: an archived project without a repository is `repository_off`. */
  state: 'active' | 'archived' | 'empty' | 'repository_off' | 'deletion_scheduled'
  mergeRequestsOff: boolean
  webUrl: string | null
}

/** What `projects/:id` says. Features of a level this token may not see are not off: they answer 403. */
export function projectOf(value: unknown): Project {
  const fields = new Fields(value, 'project')
  const id = fields.id('id')
  fields.record = `project ${id}`
  return {
    id,
    path: fields.must('path_with_namespace', fields.text('path_with_namespace')),
    defaultBranch: fields.text('default_branch'),
    state: stateOf(fields),
    mergeRequestsOff:
      fields.text('merge_requests_access_level') === 'disabled' ||
      fields.boolean('merge_requests_enabled') === false,
    webUrl: fields.text('web_url'),
  }
}

function stateOf(fields: Fields): Project['state'] {
  if (fields.text('repository_access_level') === 'disabled') return 'repository_off'
  if (fields.boolean('empty_repo') === true) return 'empty'
  // Dates without a time; marked_for_deletion_at is their older name.
  if ((fields.text('marked_for_deletion_on') ?? fields.text('marked_for_deletion_at')) !== null)
    return 'deletion_scheduled'
  return fields.boolean('archived') === true ? 'archived' : 'active'
}
