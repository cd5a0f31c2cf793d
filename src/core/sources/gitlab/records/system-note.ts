/**
 * What the notes GitLab writes itself tell, by how they begin: there is no other sign of an approval's or a label's
 * history for all editions. Always English, whatever the server's language (Gitlab::I18n.with_default_locale). Sentences
 * from app/services/system_notes of 8.9 to 17; the older ones begin with a capital. The first that fits counts.
 */
const SENTENCES: readonly [type: string, begins: RegExp][] = [
  ['approve', /^approved this merge request/],
  ['unapprove', /^unapproved this merge request/],
  ['request_changes', /^requested changes/],
  ['assign', /^(?:re)?assigned to /],
  ['unassign', /^(?:unassigned |removed (?:all )?assignees?|assignee removed)/],
  ['reviewer_assign', /^requested review from /],
  ['reviewer_unassign', /^removed review request for /],
  ['merge', /^(?:status changed to )?merged(?: |$)/],
  ['close', /^(?:status changed to )?closed(?: |$)/],
  ['reopen', /^(?:status changed to )?reopened(?: |$)/],
  ['auto_merge', /^(?:enabled|canceled|aborted) (?:an|the) automatic merge/],
  ['push', /^added \d+ (?:new )?commits?/],
  ['label', /^(?:added|removed) (?:~|\d+ deleted label)/],
  ['milestone', /^(?:changed milestone to |removed milestone|milestone (?:changed|removed))/],
  ['draft', /^marked (?:this merge request )?as (?:a )?\**(?:draft|work in progress)/],
  ['ready', /^(?:marked (?:this merge request )?as (?:a )?\**ready|unmarked as )/],
  ['title', /^(?:changed title|title changed) from /],
  ['description', /^changed the description/],
  ['branch', /^(?:(?:changed|restored|deleted) (?:source|target) branch|(?:source|target) branch changed)/],
  ['mention', /^mentioned in /],
  ['lock', /^locked /],
  ['unlock', /^unlocked /],
  ['resolve', /^resolved all (?:threads|discussions)/],
  ['outdated', /^changed this (?:line|file) in /],
  ['cherry_pick', /^picked the changes into /],
  ['task', /^marked the (?:task|checklist item) /],
  [
    'time',
    /^(?:(?:changed|added|removed) (?:the )?(?:time estimate|time spent)|(?:added|subtracted|deleted) .{1,60} of (?:time spent|spent time))/,
  ],
]

/** The type of event; `system` for a sentence nobody knows. */
export function systemNoteType(body: string): string {
  const start = body.slice(0, 200).toLowerCase()
  return SENTENCES.find(([, begins]) => begins.test(start))?.[0] ?? 'system'
}
