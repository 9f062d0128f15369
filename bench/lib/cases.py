"""The cases: what is run, on what, against which floor, and the bar for barque."""

import os
import shutil

from measure import execute

TREE, BASE = "tree:latest", "debian:bookworm"


def shell(text):
    return ["bash", "-o", "pipefail", "-c", text]


class Case:
    """What happens once before a tool's turns, before each turn, and in it."""

    name = title = ""
    ratio = None      # at most this many times the floor
    seconds = None    # or at most this long
    writes_much = False
    per = 1           # steps that the bar and the shown time are for

    def __init__(self, data):
        self.data = data

    def prepare(self, tool):
        tool.fresh()

    def before(self, tool):
        pass

    def before_floor(self):
        pass

    def finish(self, tool):
        tool.fresh()


class Cold(Case):
    """A case where the tool knows nothing beforehand."""

    def before(self, tool):
        tool.fresh()


class CopyCold(Cold):
    name, title, ratio = "copy-cold", "`COPY . .` of 62,000 files, nothing cached", 2.0
    writes_much = True

    def floor(self):
        return shell(f"cd {self.data.tree} && tar -cf - . | openssl dgst -sha256")

    def argv(self, tool):
        return tool.build(self.data.tree, self.data.copy, TREE)


class CopyCached(CopyCold):
    name, title, ratio = "copy-cached", "the same, all cached", 1.0
    writes_much = False

    def floor(self):
        return shell(f"cd {self.data.tree} && find . -printf '%s %T@ %i %C@\\n' >/dev/null")

    def prepare(self, tool):
        tool.fresh()
        execute(self.argv(tool), tool.env)

    def before(self, tool):
        pass


class CopyOneChanged(CopyCached):
    name, title, ratio = "copy-one-changed", "the same, one file changed", 2.5
    writes_much = True
    turn = 0

    def floor(self):
        return ["openssl", "dgst", "-sha256", str(self.data.tree_tar)]

    def before(self, tool):
        path = self.data.changed_file()
        self.turn += 1
        path.write_text(f"module.exports = {self.turn};\n" * 50)

    def finish(self, tool):
        from data import MTIME
        path = self.data.changed_file()
        path.write_text("module.exports = 0;\n" * 50)
        os.utime(path, (MTIME, MTIME))
        super().finish(tool)


class CopyBig(CopyCold):
    name, title, ratio = "copy-big", "`COPY . .` of 32 files of 16 MB, nothing cached", None

    def floor(self):
        return shell(f"cd {self.data.big} && tar -cf - . | openssl dgst -sha256")

    def argv(self, tool):
        return tool.build(self.data.big, self.data.copy, TREE)


class ImportPlain(Cold):
    name, title, ratio = "import-plain", "import that layer, plain, ready to run", 2.0
    writes_much = True

    def floor(self):
        return ["openssl", "dgst", "-sha256", str(self.data.tree_tar)]

    def argv(self, tool):
        return tool.import_(self.data.tree_tar, TREE)


class ImportGzip(Cold):
    name, title, ratio = "import-gzip", "import that layer, gzip, ready to run", 1.3
    writes_much = True

    def floor(self):
        return shell(f"gzip -dc {self.data.tree_gz} | openssl dgst -sha256")

    def argv(self, tool):
        return tool.import_(self.data.tree_gz, TREE)


class LoadPlain(ImportPlain):
    name, title = "load-plain", "load an image of that layer, plain"

    def argv(self, tool):
        return tool.load(self.data.image_plain)


class LoadGzip(ImportGzip):
    name, title = "load-gzip", "load an image of that layer, gzip"

    def argv(self, tool):
        return tool.load(self.data.image_gzip)


class ImportDebian(ImportPlain):
    name, title, ratio = "import-debian", "import a Debian root filesystem, plain", None

    def floor(self):
        return ["openssl", "dgst", "-sha256", str(self.data.debian)]

    def argv(self, tool):
        return tool.import_(self.data.debian, BASE)


class Remove(Case):
    name, title, seconds = "remove", "remove the image of that layer", 0.030

    def before_floor(self):
        shutil.copyfile(self.data.tree_tar, self.data.root / "removable")

    def floor(self):
        return ["rm", str(self.data.root / "removable")]

    def before(self, tool):
        execute(tool.import_(self.data.tree_tar, TREE), tool.env)

    def argv(self, tool):
        return tool.remove(TREE)

    def finish(self, tool):
        (self.data.root / "removable").unlink(missing_ok=True)
        super().finish(tool)


class RunsCold(Case):
    name, title, seconds, per = "runs-cold", "ten `RUN echo` steps, nothing cached, a step", 0.020, 10

    def floor(self):
        one = f"unshare --mount --pid --ipc --uts --fork chroot {self.data.bundle}/rootfs /bin/sh -c 'echo'"
        return shell(f"for n in $(seq 10); do {one}; done")

    def before(self, tool):
        tool.fresh()
        execute(tool.import_(self.data.debian, BASE), tool.env)

    def argv(self, tool):
        return tool.build(self.data.empty, self.data.runs, "runs:latest")


class RunsCached(RunsCold):
    name, title, seconds, per = "runs-cached", "the same, all cached, the whole command", 0.015, 1

    def floor(self):
        return ["/bin/true"]

    def prepare(self, tool):
        super().before(tool)
        execute(self.argv(tool), tool.env)

    def before(self, tool):
        pass


class Images(RunsCached):
    name, title, seconds = "images", "`images`", 0.015

    def argv(self, tool):
        return tool.images()

    def prepare(self, tool):
        RunsCold.before(self, tool)


class RunTrue(Images):
    name, title, seconds, ratio = "run-true", "`run --rm IMAGE true`, against `runc run`", None, 1.0

    def floor(self):
        return ["runc", "run", "--bundle", str(self.data.bundle), "barque-bench"]

    def argv(self, tool):
        return tool.run_true(BASE)


ALL = [CopyCold, CopyCached, CopyOneChanged, CopyBig, ImportPlain, ImportGzip, LoadPlain, LoadGzip, ImportDebian,
       Remove, RunsCold, RunsCached, Images, RunTrue]
