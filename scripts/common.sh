# Sourced by the scripts of this repository: words on the screen, and packages.
# shellcheck shell=bash

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' red='' plain=''
fi

heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
note() { printf '%s%s%s\n' "$dim" "$*" "$plain"; }
fail() { printf '%serror:%s %s\n' "$red" "$plain" "$*" >&2; exit 1; }
is_root() { [ "$(id -u)" = 0 ]; }

# The package list of one use: scripts/packages/NAME, one a line, `#` for the reason.
package_list() { sed 's/#.*//' "scripts/packages/$1" | xargs -n1; }

missing_packages() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

# Installs what is missing of the named lists; an ordinary user is told instead.
# usage: need_packages LIST...
need_packages() {
    local list missing=()
    for list in "$@"; do
        # shellcheck disable=SC2046
        mapfile -t -O "${#missing[@]}" missing < <(missing_packages $(package_list "$list"))
    done
    install_packages "${missing[@]}"
}

install_packages() {
    [ $# -gt 0 ] || return 0
    command -v apt-get >/dev/null || fail "this machine has no apt-get; install the equivalents of: $*"
    if ! is_root; then
        note "not installed, and an ordinary user cannot install it: $*"
        note "(as root: apt-get install $*)"
        return 1
    fi
    note "installing: $*"
    mkdir -p target
    { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends "$@"; } \
        >target/apt.log 2>&1 || { tail -n 20 target/apt.log; fail "apt-get could not install: $*"; }
}

need_cargo() {
    [ -d "${HOME:-/root}/.cargo/bin" ] && PATH="$PATH:${HOME:-/root}/.cargo/bin"
    command -v cargo >/dev/null || fail "no cargo here; barque builds with Rust 1.95 or newer"
}
