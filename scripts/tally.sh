#!/bin/bash
# Adds up what the logs of one ./test say, as its closing line. A test that stood aside counts as skipped.
set -euo pipefail
cd "$(dirname "$0")/../target"
skipped=$(cat tests.log rootless.log | grep -cE '(SKIPPED [^ ]+|\bskipped): ' || true)
cat tests.log rootless.log | awk -v skipped="$skipped" '
    / tests? run: |^test result: / {
        for (i = 2; i <= NF; i++) {
            if ($i ~ /^passed/) passed += $(i-1)
            if ($i ~ /^failed/) failed += $(i-1)
        }
    }
    END { printf "tests: %d passed, %d failed, %d skipped\n", passed - skipped, failed, skipped }'
