"""Tables of what registries were measured in."""

import datetime
import os
import platform

from report import version


def shown(value, unit):
    if value is None:
        return "–"
    digits = 2 if value < 10 else 1 if value < 100 else 0
    return f"{value:,.{digits}f}{'' if unit.startswith('/') else ' '}{unit}"


def table(rows):
    lines = ["| case | barque | the other | ratio | bar | met |", "|---|---|---|---|---|---|"]
    for row in rows:
        mine = row.median("barque")
        other = next((side for side in row.figures if side != "barque"), None)
        theirs = row.median(other)
        ratio = mine / theirs if theirs else None
        if isinstance(row.bar, str):
            worst = max(row.figures["barque"]) if row.unit == "MB" else mine
            met, bar = worst <= float(row.bar.split()[0]), row.bar
        elif row.better == "more":
            met, bar = ratio >= row.bar, f"at least {row.bar:.1f} x"
        else:
            met, bar = ratio <= row.bar, f"at most {row.bar:.1f} x"
        lines.append("| " + " | ".join([
            row.title + (f" ({row.remark})" if row.remark else ""),
            shown(mine, row.unit),
            f"{shown(theirs, row.unit)} ({other})" if other else "–",
            f"{ratio:.2f}" if ratio else "–",
            bar,
            "yes" if met else "**no**",
        ]) + " |")
    return "\n".join(lines)


def turns(rows):
    lines = []
    for row in rows:
        lines.append(f"{row.title}, {row.unit}")
        for side, figures in row.figures.items():
            few = sorted(figures)[:: len(figures) // 10] if len(figures) > 20 else figures
            note = " (each tenth, in order)" if few is not figures else ""
            lines.append(f"    {side:16}" + " ".join(f"{figure:.4g}" for figure in few) + note)
    return "\n".join(lines)


def whole(rows, options, busy):
    with open("/proc/cpuinfo") as file:
        model = next((line.partition(": ")[2].strip() for line in file if line.startswith("model name")), "?")
    with open("/proc/sys/net/ipv4/tcp_congestion_control") as file:
        congestion = file.read().strip()
    programs = [version("docker-registry", "--version"), version("skopeo", "--version"), version("openssl", "version")]
    return f"""# Registries, {datetime.date.today()}

barque at {version("git", "rev-parse", "--short", "HEAD")}, release build. {os.cpu_count()} cores ({model}), Linux {platform.release()}.
{"; ".join(program for program in programs if program)}. Load at the start: {busy:.1f}.

Medians of {options.rounds} turns, after one that is not counted; the sides take turns. Clients and servers share the machine, over loopback and on
one disk. Blobs are random bytes, others each time, and every turn of an upload begins with an empty registry; the time ends
with the answer to the last request. docker-registry keeps descriptors in memory and writes no log of requests. Manifests are asked for with
`wrk` (GET) and `ab` (HEAD), one thread and {options.seconds} seconds a turn, by tag and with the media type that they have; only answers with
success count.
skopeo pulls into an OCI layout, barque into its store, ready to run; nothing is deleted between those turns. The congestion control of
the host is {congestion}. Peaks of memory are the largest of all.

{table(rows)}

Every turn:

```
{turns(rows)}
```
"""
