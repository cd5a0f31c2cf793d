#!/bin/bash
# XXL-Job, "Run mode: GLUE(Shell)". Job parameter: <repository> [<job>], for example: gitlab:123 mrs
# XXL-Job runs: bash <log path>/gluesource/<job id>_<time>.sh "<parameter>" <shard> <shards>
# The parameter comes as one word. The job's number stands in the name of the script; the log's is told to no script.
set -eu
script=${0##*/}
read -r repo job <<<"$1"

# exec, or a timeout, a kill and "cover early" end this shell alone: XXL-Job signals no other process. The sync would go
# on unseen, and hold its lock. --partial-ok here would tell XXL-Job that a part is enough: else 1 is a failure, too.
exec engram-scm-sync runner incremental --repo="$repo" --job="${job:-commits}" --json --quiet \
  --scheduler-code XXL --scheduler-job-id "${script%%_*}" --shard "$2/$3"
