# Sourced by ./quickstart: shows commands as they are typed, their time, and what matters of their output.
# shellcheck shell=bash disable=SC2154

exec 3>&1 # where commands and times are shown, whatever becomes of a command's own output
filter='' log=/dev/null

# Shows a command, runs it, shows its time. With `filter`, its output is kept in `log` and shown through the filter.
# usage: [filter=FUNCTION] [log=FILE] show COMMAND...
show() {
    local shown=$* started=$EPOCHREALTIME status=0
    [ "$1" != eval ] || shown=$2
    printf '%s$ %s%s\n' "$bold" "${shown//$PWD\//}" "$plain" >&3
    if [ -n "$filter" ]; then
        "$@" 2>&1 | tee "$log" | "$filter" >&3 || status=$?
    else
        "$@" || status=$?
    fi
    LC_ALL=C printf '%s  %.2f s%s\n' "$dim" "$(elapsed "$started")" "$plain" >&3
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
