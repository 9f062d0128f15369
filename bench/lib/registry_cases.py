"""What registries are compared in: each case gives lines of a table, with every turn."""

import concurrent.futures
import gzip
import hashlib
import io
import json
import shutil
import statistics
import subprocess
import tarfile
import time

import load
import measure
from data import digest, run
from measure import execute, timed

CHUNK = 47 << 20
CLIENTS = 8


class Row:
    """A line of the table: what it was measured on, and for each side the figures of all turns."""

    def __init__(self, title, unit, bar, better="less"):
        self.title, self.unit, self.bar, self.better = title, unit, bar, better
        self.figures = {}
        self.remark = ""

    def add(self, side, figure):
        self.figures.setdefault(side, []).append(figure)

    def median(self, side):
        return statistics.median(self.figures[side]) if self.figures.get(side) else None


class Case:
    name = ""

    def __init__(self, setting):
        self.setting = setting
        self.servers = setting.servers
        self.rows = []

    def row(self, *arguments, **named):
        self.rows.append(Row(*arguments, **named))
        return self.rows[-1]

    def turns(self):
        """Sides take turns, so that a busy moment of the machine meets them all; the first turn warms up."""
        return range(self.setting.rounds + 1)


def settle():
    measure.settle(warm=True)
    time.sleep(0.1)


class Get(Case):
    name = "get"

    def run(self):
        blob = self.setting.blob.mark(0)
        for server in self.servers:
            server.restart()
            blob.put(server.host, "blob")
        settle()
        path = f"/v2/blob/blobs/{blob.digest}"
        for clients in [1, CLIENTS]:
            who = "1 client" if clients == 1 else f"{clients} clients at once"
            speed = self.row(f"GET of a 470 MB blob, {who}", "MB/s", 1.0, better="more")
            cpu = self.row(f"the same, CPU of the server", "ms/GB", 1.0)
            for turn in self.turns():
                for server in self.servers:
                    before = server.cpu()
                    took = load.at_once(clients, lambda _: load.read_blob(server.host, path))
                    if turn > 0:
                        total = blob.size * clients
                        speed.add(server.name, total / 1e6 / took)
                        cpu.add(server.name, (server.cpu() - before) * 1e12 / total)


class Put(Case):
    name = "put"

    def run(self):
        blob = self.setting.blob
        for number, (title, chunk) in enumerate([("in one piece", None), ("in chunks of 49 MB", CHUNK)]):
            row = self.row(f"PUT of it, {title}, verified and on the disk", "s", 0.5)
            for turn in self.turns():
                blob.mark(1 + 1000 * number + turn)
                for server in self.servers:
                    server.restart()
                    settle()
                    began = time.perf_counter()
                    blob.put(server.host, "blob", chunk)
                    if turn > 0:
                        row.add(server.name, time.perf_counter() - began)
        for server in self.servers:
            server.restart()  # takes the blob away


class Manifests(Case):
    name = "manifests"

    def run(self):
        for server in self.servers:
            server.restart()
            connection = load.Connection(server.host)
            pairs = [(connection.put_small("app", content), len(content)) for content in [b"{}", b"layer"]]
            connection.put_manifest("app", "latest", load.manifest(pairs[0], pairs[1:]))
        for method, ask in [("GET", load.gets_per_second), ("HEAD", load.heads_per_second)]:
            rate = self.row(f"{method} of a manifest by tag, 64 connections", "/s", 3.0, better="more")
            p99 = self.row("the same, 99 % within", "ms", 1.0)
            refused = dict.fromkeys((server.name for server in self.servers), 0)
            for turn in self.turns():
                for server in self.servers:
                    url = f"http://{server.host}/v2/app/manifests/latest"
                    figures = ask(url, self.setting.seconds)
                    if turn > 0:
                        rate.add(server.name, figures[0])
                        p99.add(server.name, figures[1])
                        refused[server.name] += figures[2]
            if any(refused.values()):
                rate.remark = "not counted, as no answer or an error: " + ", ".join(
                    f"{count} of {name}" for name, count in refused.items())


class SmallLayers(Case):
    """200 layers of about 10 kB each, pushed to and pulled from docker-registry and our own server.

    Nothing is deleted until all turns are over: for five seconds ext4 passes over the inodes that were deleted nearby, one by one,
    with each file that is made. That would fall to whoever makes more files, and nobody deletes a thousand before they pull.
    """

    name = "small-layers"

    def run(self):
        layout = small_image(self.setting.work / "small")
        barque = self.setting.barque
        barque.fresh()
        execute([barque.program, "load", "-q", "-i", str(layout)], barque.env)
        store = barque.store
        done = []
        for server in reversed(self.servers):
            push = self.row(f"push of 200 small layers to {server.name}, by barque and by skopeo", "s", 0.5)
            pull = self.row(f"pull of them from {server.name}", "s", 0.5)
            for turn in self.turns():
                for side in ["barque", "skopeo"]:
                    server.restart(keep=True)
                    image = f"{server.host}/small:1"
                    skopeo = ["skopeo", "--insecure-policy", "copy", "-q"]
                    there = [f"docker://{image}"]
                    if side == "barque":
                        barque.env["BARQUE_ROOT"] = str(store)
                        execute([barque.program, "tag", "small:1", image], barque.env)
                        argv = [barque.program, "push", "-q", image]
                    else:
                        argv = [*skopeo, "--dest-tls-verify=false", f"oci:{layout}:small:1", *there]
                    push_seconds = timed(argv, barque.env)
                    if side == "barque":
                        execute([barque.program, "rmi", image], barque.env)
                        barque.fresh_beside()
                        done.append(barque.store)
                        argv = [barque.program, "pull", "-q", image]
                    else:
                        done.append(self.setting.work / f"back-{len(done)}")
                        argv = [*skopeo, "--src-tls-verify=false", *there, f"oci:{done[-1]}:small"]
                    pull_seconds = timed(argv, barque.env)
                    if turn > 0:
                        push.add(side, push_seconds)
                        pull.add(side, pull_seconds)
        for folder in [store, *done]:
            shutil.rmtree(folder, ignore_errors=True)


class ManyFiles(Case):
    """The pull of a layer with many files, next to what inflating and hashing it alone costs."""

    name = "many-files"

    def run(self):
        layer = self.setting.data.tree_gz
        barque, server = self.setting.barque, self.servers[0]
        server.restart()
        diff_id = "sha256:" + digest(self.setting.data.tree_tar)
        put_image(server.host, "tree", [(load.Blob(layer), diff_id)])
        row = self.row("`pull` of a 62,000-file gzip layer, ready to run; `gzip -dc \\| openssl dgst -sha256` of it", "s", 1.3)
        floor = ["bash", "-o", "pipefail", "-c", f"gzip -dc {layer} | openssl dgst -sha256"]
        for turn in self.turns():
            barque.fresh()
            figures = {"floor": timed(floor, {}, warm=True),
                       "barque": timed([barque.program, "pull", "-q", f"{server.host}/tree:1"], barque.env, warm=True)}
            if turn > 0:
                for side, figure in figures.items():
                    row.add(side, figure)
        barque.fresh()


class Memory(Case):
    name = "memory"

    def run(self):
        self.uploads()
        self.pulls()

    def uploads(self):
        row = self.row("peak memory of the server, 64 uploads of 100 MB at once", "MB", "128 MB")
        path = self.setting.work / "part"
        run("head", "-c", "100000000", str(self.setting.blob.path), stdout=open(path, "wb"))
        part = load.Blob(path).mark(5000)
        for server in self.servers:
            server.restart()

            def upload(number):
                yield
                part.put(server.host, f"upload/{number}")
                yield

            load.at_once(64, upload)
            row.add(server.name, server.peak_memory())
        path.unlink()

    def pulls(self):
        row = self.row("peak memory of `pull`, 2 GB in 8 gzip layers", "MB", "64 MB")
        barque, server = self.setting.barque, self.servers[0]
        server.restart()
        put_image(server.host, "large", large_layers(self.setting.data.root))
        for _ in range(3):
            barque.fresh()
            argv = ["/usr/bin/time", "-f", "peak=%M", barque.program, "pull", "-q", f"{server.host}/large:1"]
            done = execute(argv, barque.env)
            row.add("barque", int(done.stderr.rpartition(b"peak=")[2]) * 1024 / 1e6)
        barque.fresh()


class Tags(Case):
    """A repository with 100,000 tags."""

    name = "tags"
    COUNT = 100_000

    def run(self):
        server = self.servers[0]
        server.restart()
        connection = load.Connection(server.host)
        pairs = [(connection.put_small("many", content), len(content)) for content in [b"{}", b"layer"]]
        manifest = load.manifest(pairs[0], pairs[1:])

        def push(lane):
            own = load.Connection(server.host)
            for number in range(lane, self.COUNT, CLIENTS):
                own.put_manifest("many", f"v{number:06}", manifest)

        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(push, range(CLIENTS)))
        connection = load.Connection(server.host)  # the server has not waited so long for the other
        page = self.row("100,000 tags: a page of 100 from the middle", "ms", "10 ms")
        tag = self.row("100,000 tags: push a new manifest under a new tag, on the disk", "ms", "10 ms")
        for turn in range(100):
            began = time.perf_counter()
            _, body = connection.ask("GET", "/v2/many/tags/list?n=100&last=v050000")
            page.add(server.name, (time.perf_counter() - began) * 1e3)
            assert len(json.loads(body)["tags"]) == 100
            fresh = json.loads(manifest) | {"annotations": {"turn": str(turn)}}
            began = time.perf_counter()
            connection.put_manifest("many", f"new{turn}", json.dumps(fresh).encode())
            tag.add(server.name, (time.perf_counter() - began) * 1e3)


ALL = [Get, Put, Manifests, SmallLayers, ManyFiles, Memory, Tags]


def put_image(host, repository, layers):
    """Pushes an image of `(blob, DiffId)` pairs as `REPOSITORY:1`."""
    connection = load.Connection(host)
    pairs = []
    for blob, _ in layers:
        blob.digest = "sha256:" + digest(blob.path)
        blob.put(host, repository)
        pairs.append((blob.digest, blob.size))
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                         "rootfs": {"type": "layers", "diff_ids": [diff_id for _, diff_id in layers]}}).encode()
    manifest = load.manifest((connection.put_small(repository, config), len(config)), pairs)
    connection.put_manifest(repository, "1", manifest)


def layer_of(name, content):
    """A tar with one file, and the same as gzip."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
    return plain.getvalue(), gzip.compress(plain.getvalue(), 1, mtime=0)


def small_image(folder):
    """An OCI layout with `small:1`: 200 layers that do not compress, 10 kB each."""
    shutil.rmtree(folder, ignore_errors=True)
    blobs = folder / "blobs/sha256"
    blobs.mkdir(parents=True)

    def put(content):
        name = hashlib.sha256(content).hexdigest()
        (blobs / name).write_bytes(content)
        return "sha256:" + name, len(content)

    layers, diff_ids = [], []
    for number in range(200):
        plain, packed = layer_of(f"file-{number}", hashlib.shake_256(str(number).encode()).digest(10_000))
        diff_ids.append("sha256:" + hashlib.sha256(plain).hexdigest())
        layers.append(put(packed))
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {},
                         "rootfs": {"type": "layers", "diff_ids": diff_ids}}).encode()
    name, size = put(load.manifest(put(config), layers))
    entry = {"mediaType": load.MANIFEST, "digest": name, "size": size,
             "annotations": {"org.opencontainers.image.ref.name": "small:1"}}
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [entry]}))
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return folder


def large_layers(root):
    """Eight gzip layers of 250 MB, made once: (blob, DiffId) pairs."""
    folder = root / "large"
    if not folder.exists():
        unfinished = root / "unfinished-large"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        for number in range(8):
            # As long packed as it is plain: it does not compress.
            tree, tar = unfinished / f"file-{number}", unfinished / f"{number}.tar"
            run("head", "-c", "250000000", "/dev/urandom", stdout=open(tree, "wb"))
            run("tar", "-C", str(unfinished), "-cf", str(tar), tree.name)
            tree.unlink()
            (unfinished / f"{number}.diff-id").write_text("sha256:" + digest(tar))
            run("gzip", "-1", str(tar))
        unfinished.rename(folder)
    return [(load.Blob(folder / f"{number}.tar.gz"), (folder / f"{number}.diff-id").read_text()) for number in range(8)]
