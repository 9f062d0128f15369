# Sourced by ./quickstart: shows commands as they are typed, their time, and what matters of their output.
# shellcheck shell=bash

# Runs a command after showing it; its time goes to stderr.
show() {
    local shown=$* started=$EPOCHREALTIME status=0
    [ "$1" != eval ] || shown=$2
    printf '%s$ %s%s\n' "$bold" "${shown//$PWD\//}" "$plain" >&2
    "$@" || status=$?
    LC_ALL=C printf '%s  %.2f s%s\n' "$dim" "$(elapsed "$started")" "$plain" >&2
    return "$status"
}

elapsed() { awk -v a="${1/,/.}" -v b="${EPOCHREALTIME/,/.}" 'BEGIN { print b - a }'; }

# Of a build in plain progress: each step with CACHED or its time, errors whole.
steps_only() {
    awk '/^#[0-9]+ \[/ { name[$1] = substr($0, length($1) + 2); next }
         /^#[0-9]+ (CACHED|DONE)/ { if ($1 in name) printf "  %-12s %s\n", ($2 == "DONE" ? $3 : $2), name[$1]; next }
         /^#[0-9]+ / { next }
         { print "  " $0 }'
}

# The words of a page, one line an element.
page_text() { sed -n '/<main>/,/<\/main>/ { s/<\/dt>/: /; s/<[^>]*>//g; s/^ */  | /; /[a-z]/p }'; }

free_port() {
    local port
    for port in $(shuf -i 20000-30000 -n 20); do
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { echo "$port"; return; }
    done
    fail "found no free port"
}

await_page() {
    local try
    for try in $(seq 100); do
        ! curl -sf -o /dev/null "$1" || return 0
        sleep 0.1
    done
    return "$((try > 0))"
}
