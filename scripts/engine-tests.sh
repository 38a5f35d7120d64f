#!/usr/bin/env bash
# Runs a target whose tests need engines, and ends with the counts of scripts/count-tests.sh.
set -euo pipefail

here=$(dirname "$0")
[ $# = 2 ] || { echo "usage: $0 CARGO TARGET" >&2; exit 2; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export COCO_TEST_SKIPPED=$work/skipped
touch "$COCO_TEST_SKIPPED"
code=0
# Signals that a caller in the background ignores (bash ignores SIGINT there) are ignored by all that it starts.
env --default-signal=INT,QUIT,HUP,TERM "$1" test --locked --test "$2" | tee "$work/log" || code=${PIPESTATUS[0]}
bash "$here/count-tests.sh" "$2" "$work/log" "$COCO_TEST_SKIPPED" || [ "$code" != 0 ] || code=1
exit "$code"
