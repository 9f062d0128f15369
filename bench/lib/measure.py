"""Times whole commands, and finds their peak memory in a run of its own."""

import os
import pathlib
import re
import statistics
import subprocess
import tempfile
import time

DATA = pathlib.Path(__file__).resolve().parent.parent / "data"
BLOCK = bytes(1 << 20)
WARM = 2 << 30  # bytes; more than any case writes


class Failed(Exception):
    pass


def execute(argv, env):
    done = subprocess.run(argv, env={**os.environ, **env}, stdin=subprocess.DEVNULL, capture_output=True)
    if done.returncode != 0:
        text = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise Failed(f"{' '.join(argv)}: status {done.returncode}\n{text[-2000:]}")
    return done


def settle(warm):
    """Makes what follows pay for itself alone: what was written before is on the disk.

    `warm`, for what writes much: there is free memory that is really there. A virtual machine gives free pages back to
    its host and gets them again at the first touch. Writing 520 MB into the page cache then takes 1.3 s instead of
    0.09 s, whatever program writes them. Only pages that held a file's content count, so a file it is. Not for what takes
    milliseconds: giving pages back takes processor time, too.
    """
    os.sync()
    if not warm:
        return
    with tempfile.TemporaryFile(dir=DATA) as file:
        for _ in range(WARM // len(BLOCK)):
            file.write(BLOCK)


def timed(argv, env, warm=False):
    settle(warm)
    started = time.perf_counter()
    execute(argv, env)
    return time.perf_counter() - started


def peak_memory(argv, env):
    """Largest resident set of the command or of a child it waited for, in MB (10^6 bytes)."""
    done = execute(["/usr/bin/time", "-f", "peak=%M", *argv], env)
    return int(re.findall(rb"peak=(\d+)", done.stderr)[-1]) * 1024 / 1e6


class Series:
    """What one command took in one case."""

    def __init__(self):
        self.seconds = []
        self.memory = None
        self.error = None

    @property
    def median(self):
        return statistics.median(self.seconds) if self.seconds else None


def measure(case, floor, tools, rounds, rival_rounds):
    """Floor and tools take turns, so that a busy moment of the machine meets them all.

    The first turn of the floor and of barque is not counted: it warms the page cache, for the rivals as well.
    """
    series = {"floor": Series()} | {tool.name: Series() for tool in tools}
    for tool in tools:
        try:
            case.prepare(tool)
        except Failed as error:
            series[tool.name].error = str(error)
    for turn in range(rounds + 1):
        for tool in [None, *tools]:
            name = tool.name if tool else "floor"
            mine = series[name]
            rival = name not in ("floor", "barque")
            if mine.error or (rival and not 0 < turn <= rival_rounds):
                continue
            try:
                if tool:
                    case.before(tool)
                    seconds = timed(case.argv(tool), tool.env, case.writes_much)
                else:
                    case.before_floor()
                    seconds = timed(floor, {}, case.writes_much)
                if turn > 0:
                    mine.seconds.append(seconds)
            except Failed as error:
                mine.error = str(error)
    for tool in tools:
        mine = series[tool.name]
        try:
            if not mine.error and tool.name == "barque":
                case.before(tool)
                mine.memory = peak_memory(case.argv(tool), tool.env)
            case.finish(tool)
        except Failed as error:
            mine.error = str(error)
    return series
