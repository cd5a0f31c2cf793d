/** auto_explain on one connection: the plan of every statement, those inside functions too. Wants a superuser. */
const SETTINGS = {
  log_min_duration: '0',
  log_analyze: 'on',
  log_buffers: 'on',
  log_wal: 'on',
  log_triggers: 'on',
  log_nested_statements: 'on',
  log_format: 'json',
  log_level: 'notice',
}

/** Plans of what `work` makes `db` run, as auto_explain writes them: text, ms, plan, triggers. */
export async function explained(db, work) {
  const found = []
  const hear = ({ message }) => {
    const [, ms, json] = /^duration: ([\d.]+) ms +plan:\n([\s\S]*)$/.exec(message) ?? []
    if (json === undefined) return
    const { 'Query Text': text, Plan: plan, Triggers: triggers = [] } = JSON.parse(json)
    found.push({ text, ms: Number(ms), plan, triggers })
  }
  await db.query(`load 'auto_explain'`)
  for (const [name, value] of Object.entries(SETTINGS)) await db.query(`set auto_explain.${name} = ${value}`)
  db.on('notice', hear)
  await work()
  // Inside a transaction the outermost statement is only told of when the next one begins.
  await db.query('set auto_explain.log_min_duration = -1')
  db.off('notice', hear)
  return found
}

export const buffersOf = (node) => node['Shared Hit Blocks'] + node['Shared Read Blocks']
