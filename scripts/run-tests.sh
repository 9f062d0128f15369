#!/bin/bash
# Runs the whole suite and shows one line a test, what was skipped, and all there is about failures.
# usage: scripts/run-tests.sh [FILTER]    (leaves target/tests.log)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
log=target/tests.log
# What fails here fails again: generated cases are the same each time. Another seed tries others.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-20261123}

status=0
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace --no-tests pass --no-fail-fast --color never --success-output final ${1:+"$1"} \
        >"$log" 2>&1 || status=$?
    cargo test -q --workspace --doc ${1:+"$1"} >>"$log" 2>&1 || status=$?
else
    cargo test --workspace --no-fail-fast ${1:+"$1"} -- --nocapture >"$log" 2>&1 || status=$?
fi

if [ "$status" != 0 ]; then
    # Of nextest what it says about failures; the rest of the log is what passing tests said.
    awk '/^ +(PASS|SLOW|SKIP) \[/ { show = 0 }
         /^ +(FAIL|TIMEOUT|ABORT|SIG[A-Z]+|LEAK-FAIL) \[/ && !over { show = 1 }
         /^ +Summary \[/ { print; show = 0; over = 1 }
         /^(error|warning: unused)|^test .*FAILED|panicked at/ || show' "$log"
    fail "tests failed; all they said is in $log"
fi
scripts/skipped.sh "$log"
grep -E '^ +Summary|^test result: .* [1-9][0-9]* passed' "$log"
