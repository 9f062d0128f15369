"""The data that the cases work on, made once and the same everywhere.

tree/            62,000 files, 473 MB, shaped like the node_modules of a web project
big/             32 files of 16 MB, half of each compressible
debian.tar       a Debian root filesystem, from packages
tree.tar(.gz)    the tree as GNU tar writes it: what `import` reads, and what the floors hash
tree-*.image     the same as one-layer images to load, with a plain and with a gzip layer
bundle/          debian.tar unpacked, with a config for runc
"""

import hashlib
import json
import math
import os
import pathlib
import random
import shutil
import subprocess
import tarfile
import io

SEED = 62_000
FILES = 62_000
TREE_BYTES = 473_000_000
BIG_FILES = 32
BIG_BYTES = 16 << 20
MTIME = 1_700_000_000

KINDS = [(".js", 55), (".d.ts", 17), (".js.map", 12), (".ts", 6), (".md", 4), (".json", 4), ("", 2)]
SYLLABLES = "ab com de ex fil gen hel in jo key lo map nod op par que ren str tok un val wrap xy ze".split()


def word(rng):
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(1, 4)))


def text_pool(rng, size):
    """Text that compresses about as well as JavaScript does, four to five times."""
    words = [word(rng) for _ in range(4000)]
    shapes = [
        "export function {0}({1}, {2}) {{\n  return {3}.{4}({1}) || {2};\n}}\n",
        "const {0} = require('./{1}/{2}');\n",
        "  if ({0} === undefined || {1}.length > {n}) {{\n    throw new Error('{2} {3} {4}');\n  }}\n",
        "/** The {0} of a {1}: {2} {3}, {4}. */\n",
        "    {0}: {{ {1}: '{2}', {3}: {n} }},\n",
        "  this.{0} = {1}.{2}({3} => {3}.{4}, {n});\n",
    ]
    parts, total = [], 0
    while total < size:
        part = rng.choice(shapes).format(*(rng.choice(words) for _ in range(5)), n=rng.randrange(100_000))
        parts.append(part)
        total += len(part)
    return "".join(parts).encode()


def sizes(rng):
    """Log-normal, as package trees are: most files under 2 KB, a few of hundreds."""
    raw = [min(rng.lognormvariate(math.log(1600), 1.75), 3_000_000) for _ in range(FILES)]
    scale = TREE_BYTES / sum(raw)
    return [max(16, int(size * scale)) for size in raw]


def make_tree(root):
    rng = random.Random(SEED)
    pool = text_pool(rng, 8 << 20)
    todo = iter(sizes(rng))
    suffixes, weights = zip(*KINDS)
    directory, left, package = root, 0, 0
    for number, size in enumerate(todo):
        if left == 0:
            if number == 0 or rng.random() < 0.15:
                package += 1
                base = root / (f"@{word(rng)}/{word(rng)}-{package}" if rng.random() < 0.3 else f"{word(rng)}-{package}")
                (root / ".bin").mkdir(exist_ok=True, parents=True)
                (root / ".bin" / base.name).symlink_to(f"../{base.relative_to(root)}/cli.js")
                directory = base
            else:
                directory = base / rng.choice(["lib", "dist", "dist/esm", "dist/cjs", "src", "types"]) / word(rng)
            directory.mkdir(parents=True, exist_ok=True)
            left = rng.randint(2, 14)
        left -= 1
        path = directory / f"{word(rng)}-{number}{rng.choices(suffixes, weights)[0]}"
        start = rng.randrange(len(pool) - 1)
        body = (pool[start:] + pool * (size // len(pool) + 1))[:size] if size > len(pool) - start else pool[start : start + size]
        path.write_bytes(body)
        path.chmod(0o755 if rng.random() < 0.02 else 0o644)
    for top, _, names in os.walk(root, topdown=False):
        for name in names:
            os.utime(os.path.join(top, name), (MTIME, MTIME), follow_symlinks=False)
        os.utime(top, (MTIME, MTIME))


def make_big(root):
    rng = random.Random(SEED + 1)
    pool = text_pool(rng, 4 << 20)
    root.mkdir()
    for number in range(BIG_FILES):
        with open(root / f"asset-{number:02}.bin", "wb") as file:
            for _ in range(BIG_BYTES // (128 << 10)):
                start = rng.randrange(len(pool) - (64 << 10))
                file.write(rng.randbytes(64 << 10))
                file.write(pool[start : start + (64 << 10)])


def run(*argv, **options):
    subprocess.run(argv, check=True, **options)


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def make_image(path, layer, diff_id, media_type):
    """One archive in both forms at once, as Docker writes them: docker-archive and OCI layout."""
    blobs = {}

    def blob(value):
        data = json.dumps(value).encode()
        name = hashlib.sha256(data).hexdigest()
        blobs[name] = data
        return name, len(data)

    config, config_size = blob({
        "architecture": "amd64", "os": "linux", "config": {},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
        "history": [{"created_by": "bench"}],
    })
    layer_digest = digest(layer)
    oci = "application/vnd.oci.image."
    manifest, manifest_size = blob({
        "schemaVersion": 2, "mediaType": oci + "manifest.v1+json",
        "config": {"mediaType": oci + "config.v1+json", "digest": f"sha256:{config}", "size": config_size},
        "layers": [{"mediaType": media_type, "digest": f"sha256:{layer_digest}", "size": layer.stat().st_size}],
    })
    files = {f"blobs/sha256/{name}": data for name, data in blobs.items()}
    files["oci-layout"] = b'{"imageLayoutVersion":"1.0.0"}'
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [{
        "mediaType": oci + "manifest.v1+json", "digest": f"sha256:{manifest}", "size": manifest_size,
        "annotations": {"io.containerd.image.name": "docker.io/library/tree:latest",
                        "org.opencontainers.image.ref.name": "latest"},
    }]}).encode()
    files["manifest.json"] = json.dumps([{
        "Config": f"blobs/sha256/{config}", "RepoTags": ["tree:latest"], "Layers": [f"blobs/sha256/{layer_digest}"],
    }]).encode()
    with tarfile.open(path, "w") as archive:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
        archive.add(layer, f"blobs/sha256/{layer_digest}")


def make_bundle(root, debian):
    (root / "rootfs").mkdir(parents=True)
    run("tar", "-C", str(root / "rootfs"), "-xf", str(debian))
    run("runc", "spec", cwd=root)
    spec = json.loads((root / "config.json").read_text())
    spec["process"]["terminal"] = False
    spec["process"]["args"] = ["true"]
    spec["root"]["readonly"] = False
    # As `run` does for now: the host's network.
    spec["linux"]["namespaces"] = [n for n in spec["linux"]["namespaces"] if n["type"] != "network"]
    (root / "config.json").write_text(json.dumps(spec))


def once(path, make):
    """Makes `path` under another name first, so that a broken-off run leaves nothing that looks whole."""
    if path.exists():
        return path
    print(f"making {path.name}", flush=True)
    unfinished = path.with_name(f"unfinished-{path.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.unlink(missing_ok=True) if not unfinished.is_dir() else None
    make(unfinished)
    unfinished.rename(path)
    return path


class Tree:
    """The tree, and the layer of it."""

    def __init__(self, root):
        self.root = root
        root.mkdir(parents=True, exist_ok=True)
        self.tree = once(root / "tree", make_tree)
        self.tree_tar = once(root / "tree.tar", lambda to: run("tar", "-C", str(self.tree), "-cf", str(to), "."))
        self.tree_gz = once(root / "tree.tar.gz", lambda to: run(
            "gzip", "-c", str(self.tree_tar), stdout=open(to, "wb")))


class Data(Tree):
    def __init__(self, root):
        super().__init__(root)
        self.big = once(root / "big", make_big)
        self.debian = once(root / "debian.tar", lambda to: run(
            "mmdebstrap", "--quiet", "--variant=minbase", "--format=tar", "bookworm", str(to)))
        diff_id = digest(self.tree_tar)
        media = "application/vnd.oci.image.layer.v1.tar"
        self.image_plain = once(root / "tree-plain.image", lambda to: make_image(to, self.tree_tar, diff_id, media))
        self.image_gzip = once(root / "tree-gzip.image", lambda to: make_image(to, self.tree_gz, diff_id, media + "+gzip"))
        self.bundle = once(root / "bundle", lambda to: make_bundle(to, self.debian))
        self.copy = self.dockerfile("copy", "FROM scratch\nCOPY . .\n")
        self.runs = self.dockerfile("runs", "FROM debian:bookworm\n" + "".join(f"RUN echo {n}\n" for n in range(10)))
        self.empty = root / "empty"
        self.empty.mkdir(exist_ok=True)

    def dockerfile(self, name, text):
        path = self.root / f"Dockerfile.{name}"
        path.write_text(text)
        return path

    def changed_file(self):
        """A file of the middle of the tree, the same one each time."""
        return pathlib.Path(sorted(str(path) for path in self.tree.glob("*/*.js"))[100])
