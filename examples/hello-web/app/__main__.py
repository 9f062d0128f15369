"""Serves the page: `python3 -m app`. HOST and PORT say where."""

import itertools
import os
import pathlib
import platform
import signal
import sys
import time

import flask
import waitress

here = pathlib.Path(__file__).parent
app = flask.Flask(__name__, root_path=str(here))
started = time.monotonic()
visits = itertools.count(1)


def distribution():
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("PRETTY_NAME="):
            return line.partition("=")[2].strip('"')
    return platform.system()


@app.get("/")
def page():
    return flask.render_template(
        "index.html",
        greeting=(here / "greeting.txt").read_text().strip(),
        visit=next(visits),
        facts={
            "system": distribution(),
            "python": platform.python_version(),
            "host name": platform.node(),
            "user": f"uid {os.getuid()}",
            "process": f"pid {os.getpid()}",
            "up": f"{time.monotonic() - started:.1f} s",
        },
    )


@app.get("/healthz")
def healthz():
    return {"status": "ok"}


if __name__ == "__main__":
    host, port = os.environ.get("HOST", "0.0.0.0"), int(os.environ.get("PORT", "8000"))
    # The first process of a container gets no default action for signals: without this, stopping takes ten seconds.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    print(f"listening on {host}:{port}", flush=True)
    waitress.serve(app, host=host, port=port, threads=4, _quiet=True)
