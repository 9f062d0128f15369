"""The registries that are compared, each with a folder of its own on the same disk."""

import os
import shutil
import socket
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Server:
    """A registry on the loopback device. `restart` begins with an empty folder, and deletes the last one unless told not to."""

    name = ""

    def __init__(self, work):
        self.work = work
        self.folders = []
        self.log = open(work / f"{self.name}.log", "a")
        self.process = None

    def restart(self, keep=False):
        self.end()
        if not keep:
            self.clear()
        self.folder = self.work / f"server-{self.name}-{len(self.folders)}"
        self.folders.append(self.folder)
        self.folder.mkdir(parents=True)
        self.port = free_port()
        self.process = subprocess.Popen(self.argv(), stdout=self.log, stderr=self.log, env={**os.environ, **self.env()})
        for _ in range(500):
            if self.process.poll() is not None:
                break
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"{self.name} did not start; see {self.log.name}")

    def argv(self):
        raise NotImplementedError

    def env(self):
        return {}

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def cpu(self):
        """Seconds of CPU that the server has used so far."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    def peak_memory(self):
        """Its largest resident set, in MB (10^6 bytes)."""
        with open(f"/proc/{self.process.pid}/status") as file:
            peak = next(line for line in file if line.startswith("VmHWM"))
        return int(peak.split()[1]) * 1024 / 1e6

    def end(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def clear(self):
        while self.folders:
            shutil.rmtree(self.folders.pop(), ignore_errors=True)

    def close(self):
        self.end()
        self.clear()


class BarqueServer(Server):
    name = "barque"

    def __init__(self, work, program):
        super().__init__(work)
        self.program = str(program)

    def argv(self):
        return [self.program, "registry", "serve", "--listen", self.host, "--folder", str(self.folder / "data")]


class DebianRegistry(Server):
    """docker-registry with its cache of descriptors, and without a log of requests."""

    name = "docker-registry"

    def argv(self):
        config = self.folder / "config.yml"
        config.write_text(f"""version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {self.folder}/data}}
  cache: {{blobdescriptor: inmemory}}
http: {{addr: "{self.host}"}}
""")
        return ["docker-registry", "serve", str(config)]

    def env(self):
        return {"OTEL_TRACES_EXPORTER": "none"}
