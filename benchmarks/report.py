"""The page of all results: a table and a plot for each benchmark, made from the result files alone.

results/*.json -> results/README.md, results/<name>.png
"""

import json
import textwrap
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from common import OURS, RESULTS
from matplotlib.figure import Figure
from matplotlib.patches import Patch

INTRODUCTION = """# Benchmarks

Made by `python benchmarks/suite.py` from the files in this folder. The docstring of each script says what it does and
how its peers do it. All contenders have the same weights and do the same work, each in a process of its own, in turn.
The answers are compared before any time is printed. Times are medians. The number in brackets is how many times as long
as jaxviz a contender took: the median over rounds of the ratio within a round. **Bold** is a ratio below its aim, which
stands beside it. The floor is the time of all multiplications at the speed of a large matrix product on this machine,
with each layer counted as a direct convolution; or the time of its memory traffic, if that is longer. Winograd's
algorithm needs fewer multiplications, so a time can be below the floor. A table was made by the code of its date.

[accelerators.md](accelerators.md) has what XLA calculates for TPUs and an H100. Nothing in it is measured.
[filter_quality.md](filter_quality.md) has how well the pictures of Chollet's and of Lucid's recipe excite their filters
when they are changed a little.
"""


def write_page() -> Path:
    """The path of the page, which is written together with its plots."""
    parts = [INTRODUCTION]
    for path in sorted(RESULTS.glob("*.json")):
        devices = json.loads(path.read_text(encoding="utf-8"))
        if all("claim" in found.get("results", ()) for found in devices.values()):
            parts.append(section(path.stem, devices))
    page = RESULTS / "README.md"
    page.write_text("\n".join(parts), encoding="utf-8")
    return page


def section(name: str, devices: Mapping[str, Any]) -> str:
    """The Markdown of one benchmark: a table and a plot for each device, after a table of our times on all."""
    lines = [f"## {name}\n"]
    rows_of = {device: found["results"].get("rows", []) for device, found in devices.items()}
    if len(devices) > 1 and any(rows_of.values()):
        lines += [*across(rows_of), ""]
    for number, (device, found) in enumerate(devices.items()):
        results, environment = found["results"], found["environment"]
        rows = results.get("rows", [])
        plot = RESULTS / f"{name}{f'_{number}' if number else ''}.png"
        if rows:
            draw(rows, plot)
        versions = ", ".join(f"{package} {version}" for package, version in environment["versions"].items())
        lines += [
            f"{capital(results['claim'])}. {device} ({environment['processor']}), {environment['date']}.\n",
            *(table(rows) if rows else []),
            "",
            *(note(key, value) for key, value in results.items() if key not in ("claim", "rows")),
            *([f"![{name} on {device}]({plot.name})\n"] if rows else []),
            f"<sub>Python {environment['python']}, {versions}</sub>\n",
        ]
    return "\n".join(lines)


def table(rows: list[Mapping[str, Any]]) -> list[str]:
    """The lines of a Markdown table: a row for each piece of work, a column for each contender."""
    names = list(dict.fromkeys(name for row in rows for name in row["time"]))
    floor = ["floor"] if any("floor" in row for row in rows) else []
    lines = [f"| {' | '.join(['', *names, *floor])} |", f"|{'---|' * (1 + len(names) + len(floor))}"]
    for row in rows:
        cells = [f"{row['work']}, {row['unit']}", *(cell(row, name) for name in names)]
        cells += [f"{row['floor']:g}" if "floor" in row else ""] if floor else []
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def across(devices: Mapping[str, list[Mapping[str, Any]]]) -> list[str]:
    """The lines of a Markdown table: a row for each piece of work, a column with our time for each device."""
    lines = [f"| jaxviz on | {' | '.join(devices)} |", f"|{'---|' * (1 + len(devices))}"]
    times = {device: {f"{row['work']}, {row['unit']}": row["time"] for row in rows} for device, rows in devices.items()}
    for work in dict.fromkeys(work for found in times.values() for work in found):
        ours = (found.get(work, {}).get(OURS) for found in times.values())
        lines.append(f"| {work} | {' | '.join('–' if each is None else f'{each:g}' for each in ours)} |")
    return lines


def cell(row: Mapping[str, Any], name: str) -> str:
    if name not in row["time"]:
        return "–"
    text = f"{row['time'][name]:g}"
    if name not in row["ratio"]:
        return text
    ratio, wanted = row["ratio"][name], row.get("wanted", {}).get(name)
    return f"{text} (**{ratio:.2f} ×**, aim {wanted})" if wanted and ratio < wanted else f"{text} ({ratio:.2f} ×)"


def note(key: str, value: Any) -> str:
    """Another result of a script, in one line."""
    said = ", ".join(f"{name}: {each}" for name, each in value.items()) if isinstance(value, Mapping) else value
    return f"{capital(key)}: {said}\n"


def capital(text: str) -> str:
    return text[0].upper() + text[1:]


def draw(rows: list[Mapping[str, Any]], path: Path) -> None:
    """Write a plot of bars: how many times as long as the reference of its row, usually jaxviz, each contender took."""
    names = dict.fromkeys(name for row in rows for name in row["ratio"])
    colors = {name: f"C{i}" for i, name in enumerate(names)}
    height = 1.2 + 0.22 * sum(len(row["ratio"]) + 1 for row in rows)
    figure = Figure(figsize=(9, height), layout="constrained")
    axes, place = figure.subplots(), 0
    ticks = {}
    for row in rows:
        count = len(row["ratio"])
        bars = axes.barh(range(place, place + count), row["ratio"].values(), color=[colors[n] for n in row["ratio"]])
        axes.bar_label(bars, fmt=" %.2f", fontsize=8)
        against = "" if row["against"] == OURS else f"\nagainst {row['against']}"
        ticks[place + (count - 1) / 2] = textwrap.fill(row["work"], 30) + against
        place += count + 1
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(list(ticks), ticks.values(), fontsize=8)
    axes.invert_yaxis()
    axes.margins(x=0.08, y=0.02)
    axes.set_xlabel("times as long as jaxviz" if any(row["against"] == OURS for row in rows) else "times as long")
    labels = [Patch(color=color, label=name) for name, color in colors.items()]
    figure.legend(handles=labels, loc="outside upper center", ncols=4, fontsize=8)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    print(write_page())
