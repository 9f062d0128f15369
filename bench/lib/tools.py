"""The programs that are compared, each with a store of its own under the bench's folder."""

import os
import pathlib
import shutil
import subprocess
import time


class Barque:
    name = "barque"

    def __init__(self, program, work):
        self.program = str(program)
        self.work = work
        self.store = None
        self.number = 0
        self.env = {}

    def fresh(self):
        # Another folder each time: a command's detached sync may still look at the old one.
        if self.store:
            shutil.rmtree(self.store, ignore_errors=True)
        self.number += 1
        self.store = self.work / f"barque-{self.number}"
        self.env["BARQUE_ROOT"] = str(self.store)

    def fresh_beside(self):
        """Another folder, while the last one stays: whoever calls has to delete it."""
        self.store = None
        self.fresh()

    def build(self, context, dockerfile, tag):
        return [self.program, "build", "--progress", "quiet", "-f", str(dockerfile), "-t", tag, str(context)]

    def import_(self, tar, tag):
        return [self.program, "import", str(tar), tag]

    def load(self, archive):
        return [self.program, "load", "-q", "-i", str(archive)]

    def remove(self, tag):
        return [self.program, "rmi", tag]

    def images(self):
        return [self.program, "images"]

    def run_true(self, tag):
        return [self.program, "run", "--rm", tag, "true"]

    def close(self):
        self.fresh()


class Buildah:
    """Debian's buildah, and podman on the same storage for what buildah has no command for."""

    name = "buildah"

    def __init__(self, work):
        self.root = work / "buildah"
        self.store = ["--root", str(self.root / "root"), "--runroot", str(self.root / "run"), "--storage-driver", "overlay"]
        self.podman = ["podman", *self.store, "--runtime", "runc", "--cgroup-manager", "cgroupfs", "--events-backend", "none"]
        self.env = {"BUILDAH_ISOLATION": "chroot"}

    def fresh(self):
        quiet(["buildah", *self.store, "rmi", "--all", "--force"])

    def build(self, context, dockerfile, tag):
        return ["buildah", *self.store, "bud", "--isolation", "chroot", "--layers", "--pull-never", "-q",
                "-f", str(dockerfile), "-t", tag, str(context)]

    def import_(self, tar, tag):
        return [*self.podman, "import", "-q", str(tar), tag]

    def load(self, archive):
        return [*self.podman, "load", "-q", "-i", str(archive)]

    def remove(self, tag):
        return ["buildah", *self.store, "rmi", tag]

    def images(self):
        return ["buildah", *self.store, "images"]

    def run_true(self, tag):
        # podman's own default limits are more than some hosts grant.
        limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]
        return [*self.podman, "run", "--rm", "--network", "host", *limits, "--pull", "never", tag, "true"]

    def close(self):
        self.fresh()
        shutil.rmtree(self.root, ignore_errors=True)


class Docker:
    """A Docker of its own: data, socket and process; the host's network is left as it is."""

    name = "docker"

    def __init__(self, work):
        self.root = work / "docker"
        self.root.mkdir(parents=True, exist_ok=True)
        socket = f"unix://{self.root}/docker.sock"
        self.env = {"DOCKER_HOST": socket, "DOCKER_BUILDKIT": "0", "DOCKER_CONFIG": str(self.root / "config")}
        self.client = "/usr/bin/docker" if pathlib.Path("/usr/bin/docker").exists() else "docker"
        self.log = open(self.root / "dockerd.log", "w")
        self.daemon = subprocess.Popen(
            ["dockerd", "--data-root", str(self.root / "data"), "--exec-root", str(self.root / "exec"),
             "--pidfile", str(self.root / "pid"), "-H", socket, "--iptables=false", "--bridge=none"],
            stdout=self.log, stderr=self.log)
        for _ in range(300):
            if self.daemon.poll() is not None:
                break
            if quiet([self.client, "version"], self.env) == 0:
                return
            time.sleep(0.1)
        self.close()
        raise RuntimeError(f"dockerd did not start; see {self.root}/dockerd.log")

    def fresh(self):
        ids = subprocess.run([self.client, "images", "-aq"], env={**os.environ, **self.env}, capture_output=True, text=True)
        if ids.stdout.split():
            quiet([self.client, "rmi", "-f", *dict.fromkeys(ids.stdout.split())], self.env)
        quiet([self.client, "image", "prune", "-f"], self.env)

    def build(self, context, dockerfile, tag):
        return [self.client, "build", "-q", "--network", "host", "-f", str(dockerfile), "-t", tag, str(context)]

    def import_(self, tar, tag):
        return [self.client, "import", str(tar), tag]

    def load(self, archive):
        return [self.client, "load", "-q", "-i", str(archive)]

    def remove(self, tag):
        return [self.client, "rmi", tag]

    def images(self):
        return [self.client, "images"]

    def run_true(self, tag):
        return [self.client, "run", "--rm", "--network", "host", tag, "true"]

    def close(self):
        if self.daemon.poll() is None:
            self.fresh()
            self.daemon.terminate()
            self.daemon.wait(60)
        self.log.close()
        # What a daemon that was killed leaves mounted.
        for left in [*(self.root / "exec" / "netns").glob("*"), self.root / "data"]:
            quiet(["umount", str(left)])
        shutil.rmtree(self.root, ignore_errors=True)


def quiet(argv, env=None):
    return subprocess.run(argv, env={**os.environ, **(env or {})}, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
