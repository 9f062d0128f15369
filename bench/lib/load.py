"""Requests to a registry with as little work as possible on the client's side, which shares the processors with the server."""

import hashlib
import json
import multiprocessing
import os
import re
import socket
import subprocess
import tempfile
import threading
import time

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Refused(Exception):
    pass


class Connection:
    def __init__(self, host):
        name, _, port = host.partition(":")
        self.host = host
        self.socket = socket.create_connection((name, int(port)))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.rest = b""

    def send_head(self, method, path, size=None, headers=()):
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host}", *headers]
        if size is not None:
            lines.append(f"Content-Length: {size}")
        self.socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())

    def answer(self, expected, method="GET", buffer=None):
        """The headers and the body; the body is only counted where there is a buffer to read it into."""
        while b"\r\n\r\n" not in self.rest:
            more = self.socket.recv(65536)
            if not more:
                raise Refused("the connection was closed")
            self.rest += more
        head, _, self.rest = self.rest.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:])}
        status = int(lines[0].split()[1])
        size = 0 if method == "HEAD" or status == 204 else int(headers.get("content-length", 0))
        if buffer is None or status != expected:
            while len(self.rest) < size:
                self.rest += self.socket.recv(65536)
            body, self.rest = self.rest[:size], self.rest[size:]
        else:
            body, left = b"", size - len(self.rest)
            self.rest = b""
            while left > 0:
                count = self.socket.recv_into(buffer, min(left, len(buffer)))
                if not count:
                    raise Refused("the connection was closed")
                left -= count
        if status != expected:
            raise Refused(f"{lines[0]}: {body[:200]}")
        return headers, body

    def ask(self, method, path, body=b"", expected=200, headers=()):
        self.send_head(method, path, len(body), headers)
        if body:
            self.socket.sendall(body)
        return self.answer(expected, method)

    def begin_upload(self, repository):
        headers, _ = self.ask("POST", f"/v2/{repository}/blobs/uploads/", expected=202)
        return self.local(headers["location"])

    def local(self, location):
        return location.removeprefix(f"http://{self.host}")

    def put_small(self, repository, content):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        location = self.begin_upload(repository)
        path = f"{location}{'&' if '?' in location else '?'}digest={digest}"
        self.ask("PUT", path, content, 201, ["Content-Type: application/octet-stream"])
        return digest

    def put_manifest(self, repository, reference, manifest):
        path = f"/v2/{repository}/manifests/{reference}"
        self.ask("PUT", path, manifest, 201, [f"Content-Type: {MANIFEST}"])

    def send_file(self, file, start, count):
        while count > 0:
            sent = os.sendfile(self.socket.fileno(), file.fileno(), start, count)
            start, count = start + sent, count - sent


class Blob:
    """A large file whose first bytes are others each time, so that no registry has it already."""

    def __init__(self, path):
        self.path = path
        self.size = path.stat().st_size

    def mark(self, number):
        with open(self.path, "r+b") as file:
            file.write(number.to_bytes(16, "big"))
        found = subprocess.run(["openssl", "dgst", "-sha256", "-r", str(self.path)], check=True, capture_output=True)
        self.digest = "sha256:" + found.stdout.split()[0].decode()
        return self

    def put(self, host, repository, chunk=None):
        """Uploads it in one piece, or in chunks."""
        connection = Connection(host)
        location = connection.begin_upload(repository)
        kind = "Content-Type: application/octet-stream"
        with open(self.path, "rb") as file:
            at = 0
            while chunk and at < self.size:
                count = min(chunk, self.size - at)
                connection.send_head("PATCH", location, count, [kind, f"Content-Range: {at}-{at + count - 1}"])
                connection.send_file(file, at, count)
                headers, _ = connection.answer(202, "PATCH")
                location, at = connection.local(headers["location"]), at + count
            path = f"{location}{'&' if '?' in location else '?'}digest={self.digest}"
            connection.send_head("PUT", path, self.size - at, [kind])
            connection.send_file(file, at, self.size - at)
            connection.answer(201, "PUT")


def at_once(count, work):
    """Seconds from a common start until `count` processes have done `work(number)`."""
    context = multiprocessing.get_context("fork")
    start, outcome = context.Barrier(count + 1), context.SimpleQueue()

    def one(number):
        try:
            step = work(number)
            next(step)
            start.wait()
            next(step, None)
            outcome.put(None)
        except Exception as error:  # noqa: BLE001 - whatever it was, the parent has to know
            start.abort()
            outcome.put(str(error))

    processes = [context.Process(target=one, args=(number,)) for number in range(count)]
    for process in processes:
        process.start()
    try:
        start.wait()
    except threading.BrokenBarrierError:
        pass
    began = time.perf_counter()
    errors = [outcome.get() for _ in processes]
    took = time.perf_counter() - began
    for process in processes:
        process.join()
    if any(errors):
        raise Refused(next(error for error in errors if error))
    return took


def read_blob(host, path):
    """Two steps for `at_once`: connect, then read it all."""
    connection, buffer = Connection(host), bytearray(1 << 20)
    yield
    connection.send_head("GET", path)
    connection.answer(200, buffer=buffer)
    yield


WRK = """
wrk.headers["Accept"] = "%s"
function done(summary, latency, requests)
  io.write(string.format("RESULT %%d %%d %%d %%d\\n", summary.requests, summary.duration, latency:percentile(99),
    summary.errors.status + summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
"""


def gets_per_second(url, seconds, connections=64):
    """Answers with success a second, the time in milliseconds that 99 % of all took, and how many were no success."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(WRK % MANIFEST)
        script.flush()
        argv = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", script.name, url]
        output = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
    line = next(line for line in output.splitlines() if line.startswith("RESULT"))
    count, duration, p99, bad = (int(word) for word in line.split()[1:])
    return (count - bad) / (duration / 1e6), p99 / 1e3, bad


def heads_per_second(url, seconds, connections=64):
    """The same for HEAD, after which `wrk` would wait for a body."""
    with tempfile.NamedTemporaryFile("r") as times:
        argv = ["ab", "-q", "-i", "-k", f"-c{connections}", f"-t{seconds}", "-n1000000", "-H", f"Accept: {MANIFEST}", "-e", times.name, url]
        output = subprocess.run(argv, check=True, capture_output=True, text=True).stdout
        p99 = next(float(line.split(",")[1]) for line in times if line.startswith("99,"))

    def figure(name):
        found = re.search(rf"^{name}:\s+([\d.]+)", output, re.MULTILINE)
        return float(found[1]) if found else 0

    bad = figure("Non-2xx responses") + figure("Failed requests")
    return (figure("Complete requests") - bad) / figure("Time taken for tests"), p99, int(bad)


def manifest(config, layers):
    """A manifest of `(digest, size)` pairs."""
    def entry(kind, pair):
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": pair[0], "size": pair[1]}
    return json.dumps({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": entry("config.v1+json", config),
        "layers": [entry("layer.v1.tar+gzip", layer) for layer in layers],
    }).encode()
