#!/bin/bash
# Adds up what the logs of one ./test say, as its closing line.
cd "$(dirname "$0")/../target" || exit 1
cat tests.log rootless.log 2>/dev/null | awk '
    / tests? run: / { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^failed/) f += $(i-1); } next }
    /^test result: / { for (i = 2; i <= NF; i++) { if ($i ~ /^passed/) p += $(i-1); if ($i ~ /^failed/) f += $(i-1); } }
    END { printf "tests: %d passed, %d failed\n", p, f }'
