#!/bin/bash
# Runs the tests for ordinary users as one, from the programs that the main run has built.
# usage: scripts/run-rootless.sh FILTER    (leaves target/rootless.log)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
log=target/rootless.log

programs=$(cargo test --workspace --no-run --message-format json 2>/dev/null |
    jq -r 'select(.executable != null and .profile.test) | "\(.manifest_path | rtrimstr("/Cargo.toml")):\(.executable)"')
# shellcheck disable=SC2086
scripts/rootless.sh "$1" $programs >"$log" 2>&1 || { cat "$log"; fail "tests as an ordinary user failed"; }
scripts/skipped.sh "$log"
grep -E '^test .* ok$' "$log" || note "no test's name has $1 in it"
