#!/usr/bin/env node
import module from 'node:module'

module.enableCompileCache?.()
// No top-level await: an emptied event loop would then exit with 13.
void import('../dist/shell/main.js').then((m) => m.main('scheduler'))
