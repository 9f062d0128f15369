#!/bin/bash
# Makes what the tests read and keeps it: target/testdata/debian.tar, a Debian base root filesystem,
# target/testdata/erofs-utils/, the reference tools for EROFS, newer than Debian 12 has them, and
# target/testdata/oras/, a Python that has the client of that name, if its package can be fetched.
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

# By Debian's own Python: the tests run as an ordinary user, too, who cannot see one below another home.
if [ ! -e "$data/oras/done" ]; then
    note "making $data/oras"
    rm -rf "$data/oras"
    if { /usr/bin/python3 -m venv "$data/oras" && "$data/oras/bin/pip" install -q oras==0.2.43; } >"$data/oras.log" 2>&1; then
        touch "$data/oras/done"
    else
        note "oras cannot be installed ($data/oras.log says why); its test will stand aside"
    fi
fi
