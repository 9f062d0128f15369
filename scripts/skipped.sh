#!/bin/bash
# Shows which tests of a log skipped themselves and why: nothing is skipped in silence.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
grep -hoE '(SKIPPED [^ ]+|\bskipped): .*' "$@" | sort -u | while read -r line; do note "  $line"; done || true
