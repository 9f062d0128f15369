"""Tables of what was measured."""

import datetime
import os
import platform
import subprocess

MEMORY_BAR = 64


def seconds(value, per=1):
    if value is None:
        return "–"
    value /= per
    return f"{value * 1000:.1f} ms" if value < 0.1 else f"{value:.2f} s"


def bar(case):
    if case.ratio:
        return f"{case.ratio:.1f} x floor"
    return f"{case.seconds * 1000:.0f} ms" if case.seconds else "–"


def verdict(case, series):
    mine, floor = series.get("barque"), series["floor"]
    if mine is None:
        return "", ""
    if mine.median is None:
        return "failed", "no"
    ratio = mine.median / floor.median if floor.median else float("nan")
    met = (not case.ratio or ratio <= case.ratio) and (not case.seconds or mine.median / case.per <= case.seconds)
    if mine.memory and mine.memory > MEMORY_BAR:
        met = False
    return f"{ratio:.2f}", "yes" if met else "**no**"


def table(results, rivals):
    head = ["case", "floor", "barque", "ratio", "bar", "met", "peak MB", *rivals]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for case, series in results:
        ratio, met = verdict(case, series)
        mine = series.get("barque")
        cells = [case.title, seconds(series["floor"].median, case.per),
                 seconds(mine.median, case.per) if mine else "–", ratio, bar(case), met,
                 f"{mine.memory:.0f}" if mine and mine.memory else "–"]
        for rival in rivals:
            theirs = series.get(rival)
            text = seconds(theirs.median, case.per) if theirs else "–"
            if theirs and theirs.median and mine and mine.median:
                text += f" ({theirs.median / mine.median:.0f} x)"
            cells.append("failed" if theirs and theirs.error else text)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def turns(results):
    lines = []
    for case, series in results:
        for name, mine in series.items():
            times = " ".join(f"{value * 1000:.1f}" for value in mine.seconds)
            if mine.error:
                times += f" failed: {mine.error.splitlines()[-1]}"
            lines.append(f"{case.name:18} {name:8} {times}")
    return "\n".join(lines)


def version(*argv):
    try:
        return subprocess.run(argv, capture_output=True, text=True).stdout.splitlines()[0]
    except (OSError, IndexError):
        return None


def machine():
    """What was measured, and on what."""
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(": ")[2].strip() for line in file if line.startswith("model name")), "?")
    commit = version("git", "rev-parse", "--short", "HEAD")
    return f"barque at {commit}, release build. {os.cpu_count()} cores ({model}), Linux {platform.release()}."


def whole(results, rivals, rounds, rival_rounds, note):
    programs = [version("runc", "--version"), version("openssl", "version"), version("tar", "--version")]
    if "buildah" in rivals:
        programs.append(version("buildah", "--version"))
    if "docker" in rivals:
        programs.append(version("dockerd", "--version"))
    return f"""# {datetime.date.today()}

{machine()}
{"; ".join(program for program in programs if program)}.

Median of {rounds} ({rival_rounds} for the others), warm page cache, floor and tools taking turns. Peak memory is from a
run of its own. The factor behind another tool's time is that time over barque's.
{note}
{table(results, rivals)}

Every turn, in milliseconds:

```
{turns(results)}
```
"""
