#!/bin/bash
# Three nodes of a distributed object store (garage) on loopback: the tests of the bucket storage over two of them, then
# pushes, deletions and collections for a while, in the middle of which the third node is killed.
# usage: scripts/cluster.sh [SECONDS]    (GARAGE names the program; without it, it is installed below target/)
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/common.sh
need_cargo
seconds=${1:-120}
home=$PWD/target/cluster
rm -rf "$home" && mkdir -p "$home"

heading "the store"
garage=${GARAGE:-$PWD/target/garage/bin/garage}
if [ ! -x "$garage" ]; then
    note "building garage, which takes a while"
    cargo install -q --locked --root target/garage garage
fi
"$garage" --version

free_ports() {
    python3 -c '
import socket
all = [socket.socket() for _ in range(6)]
for one in all: one.bind(("127.0.0.1", 0))
print(*(one.getsockname()[1] for one in all))'
}
read -ra ports < <(free_ports)
secret=$(od -An -tx1 -N32 /dev/urandom | tr -d ' \n')
pids=()
trap 'kill "${pids[@]}" 2>/dev/null || true' EXIT
for node in 0 1 2; do
    mkdir -p "$home/$node"
    cat >"$home/$node.toml" <<END
metadata_dir = "$home/$node/meta"
data_dir = "$home/$node/data"
db_engine = "sqlite"
replication_factor = 3
rpc_bind_addr = "127.0.0.1:${ports[node]}"
rpc_public_addr = "127.0.0.1:${ports[node]}"
rpc_secret = "$secret"
[s3_api]
s3_region = "garage"
api_bind_addr = "127.0.0.1:${ports[node + 3]}"
END
    "$garage" -c "$home/$node.toml" server >"$home/$node.log" 2>&1 &
    pids+=($!)
done
on() { "$garage" -c "$home/$1.toml" "${@:2}" 2>>"$home/commands.log"; }
ids=()
for node in 0 1 2; do
    for _ in $(seq 100); do
        id=$(on "$node" node id -q) && on "$node" status >/dev/null && break
        sleep 0.3
    done
    ids+=("$id")
done
for node in 1 2; do on 0 node connect "${ids[node]}"; done
for id in "${ids[@]}"; do on 0 layout assign -z here -c 1G "${id%%@*}" >/dev/null; done
on 0 layout apply --version 1 >/dev/null
on 0 bucket create barque >/dev/null
key=$(on 0 key create tests)
on 0 bucket allow --read --write --owner barque --key tests >/dev/null
name=$(sed -n 's/^Key ID: *//p' <<<"$key") password=$(sed -n 's/^Secret key: *//p' <<<"$key")
[ -n "$name" ] && [ -n "$password" ] || fail "garage gave no key: $key"
export BARQUE_TEST_BUCKET="http://127.0.0.1:${ports[3]},http://127.0.0.1:${ports[4]}|barque|garage|$name|$password"
note "three nodes, all data on each: $(on 0 status | grep -c 127.0.0.1) are known"

heading "the tests of the bucket, over two nodes"
result=0
cargo test -q -p distribution --test it -- --test-threads 4 object:: servers_share || result=1

heading "a node is killed while images are pushed"
BARQUE_SOAK_SECONDS=$seconds cargo test -q -p distribution --test it -- \
    --ignored --nocapture server::soak::over_a_bucket --exact &
soak=$!
sleep $((seconds / 3))
kill -9 "${pids[2]}" && note "node 3 is dead"
wait "$soak" || result=1
on 0 status || true
exit $result
