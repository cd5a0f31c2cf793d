// Loaded before the measured program: its whole CPU time (ms), start-up of Node included, and the most memory it had
// (KiB, as the system counts), go to file descriptor 3.
process.on('exit', () => {
  const { user, system } = process.cpuUsage()
  require('node:fs').writeSync(3, `${(user + system) / 1000} ${process.resourceUsage().maxRSS}`)
})
