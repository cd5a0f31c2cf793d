import type { Commit, Person } from '../../../domain/facts.ts'
import { Fields, MAX_COUNT, WHOLE } from './fields.ts'

/**
 * A commit of `repository/commits` as the git source would have it, where the API tells: message with its last newline,
 * dates with their offsets, nothing counted for a merge. Tier numstat with statistics, else none; never paths.
 *
 * It cannot be the same in these, since GitLab has changed them before (Gitaly's catfile parser, EncodingHelper):
 * - a date before 1970 or no number is the year 292277024627 there: null here, as impossible;
 * - text that is no UTF-8 is guessed at, its NULs and bad bytes dropped, and an `encoding` header never read: the git
 *   source has U+FFFD or the right text, and only it can tell that there was damage;
 * - an e-mail ends at its first `>`, in git at the last one;
 * - a message of more than 10 MiB is replaced by its subject and a sentence: `degraded` says so.
 */
export function commitOf(value: unknown): Commit {
  const fields = new Fields(value, 'commit')
  const sha = fields.must('id', fields.sha('id'))
  fields.record = `commit ${sha}`

  const parents = fields.shas('parent_ids')
  // The oldest servers send no message in lists; a title is the subject, cut after 80 characters.
  const message = fields.text('message', WHOLE) ?? fields.text('title', WHOLE) ?? ''
  const lines = linesOf(fields)
  const counts = lines !== null && parents.length < 2 ? lines : null
  return {
    sha,
    parents,
    author: person(fields, 'author', fields.moment('authored_date')),
    // created_at is the committer's date under another name, and all that old servers send.
    committer: person(fields, 'committer', fields.moment('committed_date') ?? fields.moment('created_at')),
    message,
    tier: lines === null ? 'none' : 'numstat',
    degraded: message.endsWith(TOO_BIG) ? 'message_size' : null,
    paths: null,
    pathCount: null,
    additions: counts?.additions ?? null,
    deletions: counts?.deletions ?? null,
    patch: null,
    sanitized: [...new Set(fields.sanitized.map((name) => AS_GIT[name] ?? name))],
  }
}

const TOO_BIG = '\n\n--commit message is too big'

/** What the git source calls these fields. */
const AS_GIT: { [field: string]: string | undefined } = {
  author_name: 'author.name',
  author_email: 'author.email',
  authored_date: 'author.date',
  committer_name: 'committer.name',
  committer_email: 'committer.email',
  committed_date: 'committer.date',
  created_at: 'committer.date',
  parent_ids: 'parents',
  title: 'message',
  'stats.additions': 'additions',
  'stats.deletions': 'deletions',
}

function person(
  fields: Fields,
  who: 'author' | 'committer',
  at: { ms: number | null; offsetMinutes: number } | null,
): Person {
  const ms = at?.ms ?? null
  if (ms === null) fields.sanitized.push(`${who}.date`)
  return {
    name: (fields.text(`${who}_name`, WHOLE) ?? '').trim(),
    email: (fields.text(`${who}_email`, WHOLE) ?? '').trim(),
    epochSeconds: ms === null ? null : Math.floor(ms / 1000),
    offsetMinutes: at?.offsetMinutes ?? 0,
  }
}

/** Only there when asked for (with_stats). GitLab counts a merge against its first parent. */
function linesOf(fields: Fields): { additions: number; deletions: number } | null {
  const stats = fields.within('stats')
  const additions = stats?.integer('additions', MAX_COUNT) ?? null
  const deletions = stats?.integer('deletions', MAX_COUNT) ?? null
  return additions === null || deletions === null ? null : { additions, deletions }
}
