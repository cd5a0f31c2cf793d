/** The floor: the requests in a file, one after the other; each answer parsed and thrown away. */
import { readFileSync } from 'node:fs'

for (const url of readFileSync(process.argv[2], 'utf8').split('\n')) {
  const response = await fetch(url, { headers: { accept: 'application/json', 'private-token': 'any' } })
  if (response.status !== 200) throw new Error(`${response.status} ${url}`)
  await response.json()
}
