"""Claim: from the start of a process to its first answer, jaxviz takes no more time than its peers.

    python benchmarks/networks_first.py [--only NETWORK …]

`network_works.py` says what the networks are, and `network_contenders.py` how everybody does the work. A time has all
of a fresh process: imports, loading the network from its file, tracing, compiling and running. PyTorch loads a file of
its own, without Keras. Each peer works in one batch and image by image in two processes, and the faster one counts.
"jaxviz, compiled before" calls `keep_compilations` and finds what an earlier process compiled, as a second command of
`jaxviz` does. The answers are compared before any time is printed.
"""

import tempfile
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from common import OURS, Contender, options, row
from network_contenders import COMPILED, POINTS, SAMPLES, WAYS, compiled_before, jaxviz
from network_works import GRID, GRID_SIZE, NETWORKS, Prepared, Work, grey, keep, pictures, prepare

STEPS = 5


def first_works(name: str, prepared: Prepared) -> list[Work]:
    """The work on one network that is timed from the start of a process."""
    one, ascent = pictures(prepared.shape)[:1], (prepared.early, STEPS, grey(GRID, GRID_SIZE))
    found = [
        Work("first Grad-CAM of 1 image", "Grad-CAM", (one,)),
        Work(f"first integrated gradients, {POINTS} steps", "integrated", (one,), POINTS),
        Work(f"first SmoothGrad, {SAMPLES} samples", "SmoothGrad", (one,), SAMPLES),
        Work(f"first grid of {GRID} filters, {GRID_SIZE} × {GRID_SIZE}, {STEPS} steps", "ascent", ascent, GRID),
    ]
    return [*found, Work("first relevance propagation, epsilon", "LRP", (one,))] if name == "VGG16" else found


def first_calls(name: str, file: str, prepared: Prepared) -> list[dict[str, Any]]:
    """The rows of one network, each from the start of a process to its first answer."""
    layers, rows = NETWORKS[name], []
    judge = Contender(jaxviz, file, prepared.target, layers.last, layers.early)

    def fresh(build: Callable, *given: Any) -> tuple[np.ndarray, float]:
        """The answer of a fresh process, and the seconds that it took."""
        begin = time.perf_counter()
        contender = Contender(build, file, prepared.target, layers.last, layers.early)
        value, seconds = contender(*given).value, time.perf_counter() - begin
        contender.end()
        return value, seconds

    for work in first_works(name, prepared):
        ways = {**WAYS, COMPILED: compiled_before}
        if work.method == "LRP":
            ways = {who: ways[who] for who in (OURS, "PyTorch", COMPILED)}
        fresh(compiled_before, *work.given(COMPILED), 1)  # it fills the folder
        answers, seconds = {}, {}
        for who, build in ways.items():
            batches = {1} if who in (OURS, COMPILED) else {1, work.most}
            tries = [fresh(build, *work.given(who), batch) for batch in batches]
            answers[who], least = min(tries, key=lambda each: each[1])
            seconds[who] = [least]
        others = [who for who in ways if who not in (OURS, COMPILED)]
        rows.append(
            row(
                f"{name}, {work.title}",
                seconds,
                unit="s",
                differences={who: work.difference(answers[who], answers[OURS], judge) for who in others},
                allowed=work.allowed,
                wanted=dict.fromkeys(others, 1),
            )
        )
    judge.end()
    return rows


def main():
    choices = [name for name, layers in NETWORKS.items() if layers.early]
    only = {"nargs": "+", "choices": choices, "default": choices, "metavar": "NETWORK"}
    args = options(__doc__, {"--only": only})
    for name in ("MobileNetV2",) if args.quick else args.only:
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/{name}.keras"
            prepared = prepare(name, file)
            rows = first_calls(name, file, prepared)
            if not args.quick:
                keep("networks_first", "seconds from the start of a fresh process to its first answer", name, rows)


if __name__ == "__main__":
    main()
