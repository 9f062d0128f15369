#!/bin/bash
# Runs the suite once more as an ordinary user, with the programs that the main run has built: what needs root says so
# and stands aside, what needs an ordinary user (rootless_) is only here.
# usage: scripts/run-rootless.sh [FILTER]    (leaves target/rootless.log)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
log=target/rootless.log

# Without testkit's own tests: they call cargo, on files that the user cannot write.
programs=$(cargo test --workspace --no-run --message-format json 2>/dev/null |
    jq -r 'select(.executable != null and .profile.test)
        | select((.manifest_path | endswith("/testkit/Cargo.toml") | not) or .target.kind != ["test"])
        | "\(.manifest_path | rtrimstr("/Cargo.toml")):\(.executable)"')
# shellcheck disable=SC2086
scripts/rootless.sh "${1:-}" $programs >"$log" 2>&1 || { cat "$log"; fail "tests as an ordinary user failed"; }
grep -oE '(SKIPPED [^ ]+|skipped): .*needs root' "$log" >target/rootless.skipped || true
note "$(wc -l <target/rootless.skipped) tests need root, were run above and stood aside here"
grep -v 'needs root' "$log" >target/rootless.rest
scripts/skipped.sh target/rootless.rest
grep -E '^test .*rootless_.* ok$' "$log" || true
grep -E '^test result: ' "$log" | awk '{ passed += $4 } END { print passed " passed" }'
