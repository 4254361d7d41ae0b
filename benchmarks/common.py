"""What every benchmark here shares: alternating rounds, and a result file that says where it was taken."""

import datetime
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import jaxviz as jv

RESULTS = Path(__file__).parent / "results"


def alternate(contenders: Mapping[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, taken in turn, so that a machine that slows down slows all of them down.

    Call each once before: what is compiled, loaded or cached at the first call is not part of the claim.
    """
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            begin = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def median_ratio(theirs: list[float], ours: list[float]) -> float:
    """How many times as long they take: the median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def write(name: str, results: Any, packages: tuple[str, ...] = ()) -> Path:
    """`results/name.json`: the results and their environment."""
    names = ("jaxviz-engine", "jax", "jaxlib", "flax", "numpy", *packages)
    environment = {
        "date": datetime.date.today().isoformat(),
        "device": f"{jax.devices()[0].device_kind}, {os.cpu_count()} cores, {platform.machine()}",
        "load before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in names},
    }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"environment": environment, "results": results}, indent=2) + "\n")
    return path


def multiplications(model: jv.Model, layer: str, size: int) -> float:
    """Multiply-adds of the layers below `layer` for one image, forward; `layer` itself computes one channel."""
    shapes, total = model.shapes(size), 0.0
    for row in model.table[: model.layers.index(layer)]:
        if row.parameters:
            height, width, channels = shapes[row.name]
            total += height * width * (row.parameters - channels)
    return total


def matrix_speed() -> float:
    """Multiply-adds a second of a large matrix product."""
    a = jnp.ones((3000, 3000))
    product = jax.jit(lambda a: a @ a)
    jax.block_until_ready(product(a))
    (seconds,) = alternate({"": lambda: jax.block_until_ready(product(a))}, 5).values()
    return 3000**3 / min(seconds)
