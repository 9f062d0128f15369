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

# Of a build in plain progress: a line a step, with CACHED or its time; errors whole.
steps_only() {
    local line number step='' name=() width=110
    [ ! -t 3 ] || width=$(tput cols 2>/dev/null || echo 110)
    while IFS= read -r line; do
        if [[ $line =~ ^#([0-9]+)\ (\[.*) ]]; then
            number=${BASH_REMATCH[1]} step=${BASH_REMATCH[2]:0:width-12}
            [[ $step != '[internal]'* ]] || continue
            name[number]=$step
            [ ! -t 3 ] || printf '  %s...     %s%s\r' "$dim" "$step" "$plain" >&3
        elif [[ $line =~ ^#([0-9]+)\ (CACHED|DONE\ (.*))$ ]]; then
            step=${name[BASH_REMATCH[1]]-}
            [ -z "$step" ] || printf '  %-7s %s\n' "${BASH_REMATCH[3]:-CACHED}" "$step" >&3
        elif [[ -n $line && $line != '#'* ]]; then
            printf '  %s\n' "$line" >&3
        fi
    done
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
