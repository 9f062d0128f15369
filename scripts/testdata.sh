#!/bin/bash
# Makes what the tests read and keeps it: target/testdata/debian.tar, a Debian base root filesystem,
# and target/testdata/erofs-utils/, the reference tools for EROFS, newer than Debian 12 has them.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
data=target/testdata
mkdir -p "$data"

# An ordinary user makes it in a user namespace; owners and devices come out the same.
is_root && mode=root || mode=unshare

make_once() { # TARGET, then mmdebstrap's arguments with {} for the target
    local target=$1 tmp=$data/unfinished.$$
    shift
    [ ! -e "$target" ] || return 0
    note "making $target"
    rm -rf "$tmp" "$tmp.tar"
    mmdebstrap --quiet --mode="$mode" "${@//\{\}/$tmp}" >"$data/mmdebstrap.log" 2>&1 ||
        { tail -n 20 "$data/mmdebstrap.log"; fail "mmdebstrap could not make $target"; }
    # A directory is made as a tar and unpacked by its user, who then owns and can remove it.
    case $target in
    *.tar) mv "$tmp.tar" "$target" ;;
    *) mkdir "$tmp" && tar -C "$tmp" --exclude='./dev/*' --no-same-owner -xf "$tmp.tar" && rm "$tmp.tar" && mv "$tmp" "$target" ;;
    esac
}

make_once "$data/debian.tar" --variant=minbase bookworm "{}.tar"
make_once "$data/erofs-utils" --variant=extract --include=base-files,erofs-utils trixie "{}.tar"
