#!/bin/bash
# Runs test programs as an ordinary user, made for it and removed afterwards. Needs root.
# usage: scripts/rootless.sh FILTER TEST-PROGRAM...    (a program is CRATE-DIR:FILE)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
filter=$1
shift

user=barque-test-$$
useradd --create-home --home-dir "/tmp/$user" "$user"
grep -q "^$user:" /etc/subuid || usermod --add-subuids 700000-765535 --add-subgids 700000-765535 "$user"
remove_user() { userdel --force "$user" 2>/dev/null || true; rm -rf "/tmp/$user"; }
trap remove_user EXIT

# A checkout below a directory closed to others (/root, say) is shown to the user at its own path in
# a mount namespace of the tests alone.
closed='' path=$PWD
while [ "$path" != / ]; do
    [ $((0$(stat -c %a "$path") & 1)) = 1 ] || closed=$path
    path=$(dirname "$path")
done

inside() {
    if [ -n "$closed" ]; then
        hold=$(mktemp -d) checkout=$PWD
        mount --rbind "$checkout" "$hold"
        mount -t tmpfs -o mode=755 barque-test "$closed"
        mkdir -p "$checkout"
        mount --rbind "$hold" "$checkout"
    fi
    local status=0 program
    for program in "$@"; do
        (cd "${program%%:*}" && setpriv --reuid "$user" --regid "$user" --init-groups \
            env -i HOME="/tmp/$user" USER="$user" PATH="$PATH" TMPDIR="/tmp/$user" XDG_RUNTIME_DIR="/tmp/$user" \
            RUST_BACKTRACE=1 PROPTEST_RNG_SEED=20261123 BARQUE_TEST_ROOTFS="${BARQUE_TEST_ROOTFS:-}" \
            BARQUE_TEST_EROFS_UTILS="${BARQUE_TEST_EROFS_UTILS:-}" BARQUE_TEST_ORAS="${BARQUE_TEST_ORAS:-}" \
            "${program#*:}" --nocapture "$filter") || status=1
    done
    return $status
}
export -f inside note fail
export user closed filter bold='' dim='' red='' plain=''
unshare --mount --propagation private bash -c 'set -eu; inside "$@"' inside "$@"
