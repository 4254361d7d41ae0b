"""How long each algorithm takes for the convolutions of popular networks, to choose the rules of the pass.

    python benchmarks/convolutions.py [--only NETWORK …]

Each distinct convolution of a gradient, forward and backward, is compiled alone: as JAX writes it (XLA), and by every
algorithm of `jaxviz/compiling/rewrite.py` that can compute it. A time is the least of many runs, since a convolution
takes less than a millisecond, and the images are computed one at a time, as in the gradients of jaxviz on a CPU:

    once        one image, outside of a loop, as in the gradient of one image
    in a loop   eight images, one after the other, as in a sweep of filters or a batch of images

"AVX2" is the same processor, without AVX-512. It shows whether one table of rules serves both kinds. The answers
are compared. The sums count each convolution as often as the network has it.
"""

import os
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from common import Contender, difference, options, read, write
from network_works import IMAGES, NETWORKS, prepare

SECONDS = 0.15  # of runs for each program
INSTRUCTIONS = {"as it is": {}, "AVX2": {"XLA_FLAGS": "--xla_cpu_max_isa=AVX2", "DNNL_MAX_CPU_ISA": "AVX2"}}


def measured(file: str, shape: tuple[int, ...], settings: dict[str, str]):
    """A function that returns the rows of a network: shapes, count, the choice of the pass, and ms by algorithm."""
    os.environ.update(settings)
    import jaxviz as jv

    model = jv.load(file, inputs="unit")
    return lambda looped: [one(equation, count, looped) for equation, count in convolutions(model, shape)]


def convolutions(model: Any, shape: tuple[int, ...]) -> Iterator[tuple[Any, int]]:
    """The distinct convolutions of the gradient of one image, each with its number."""
    import jax

    from jaxviz.compiling.jaxprs import bodies
    from jaxviz.compiling.workarounds import parameters

    def equations(jaxpr: Any) -> Iterator[Any]:
        for equation in jaxpr.eqns:
            if equation.primitive.name == "conv_general_dilated":
                yield equation
            for body in bodies(equation):
                yield from equations(body.jaxpr)

    gradient = jax.grad(lambda images: model(images, [model.scores])[model.scores][:, 0].sum())
    found: dict[Any, list[Any]] = {}
    for equation in equations(jax.make_jaxpr(gradient)(np.zeros((1, *shape), np.float32)).jaxpr):
        key = (*(variable.aval.shape for variable in equation.invars), str(sorted(parameters(equation).items())))
        found.setdefault(key, []).append(equation)
    return ((each[0], len(each)) for each in found.values())


def one(equation: Any, count: int, looped: bool) -> dict[str, Any]:
    """The row of one convolution."""
    import jax
    from jax import lax

    from jaxviz.compiling import rewrite
    from jaxviz.compiling.execution import AS_USUAL
    from jaxviz.compiling.jaxprs import bind
    from jaxviz.compiling.jit import jit
    from jaxviz.compiling.workarounds import parameters

    rng = np.random.default_rng(0)
    images, kernel = (rng.standard_normal(variable.aval.shape, np.float32) for variable in equation.invars)
    backward = parameters(equation)["dimension_numbers"].rhs_spec == (2, 3, 0, 1)
    several = np.stack([images] * IMAGES) if looped else images

    def run(images: jax.Array, kernel: jax.Array) -> jax.Array:
        kernel = lax.rev(kernel, (0, 1)) if backward else kernel  # a gradient reverses its kernel in the program
        apply = lambda images: bind(equation, images, kernel)[0]  # noqa: E731
        return lax.map(apply, images) if looped else apply(images)

    chosen: list[str] = []
    best_of = rewrite._fastest

    def watched(*args: Any) -> tuple[str, str]:
        chosen.append(best_of(*args)[0])
        return chosen[-1], ""

    tile = AS_USUAL.winograd
    names = ("grouped",) if parameters(equation)["feature_group_count"] > 1 else ("direct", "taps", tile)
    ways = {"chosen": watched} | {name: lambda *_, name=name: (name, "") for name in names}
    if not looped or kernel.shape[:2] != (3, 3) or strides(equation) != {1}:
        ways.pop(tile, None)
    times, answers = {}, {}
    times["XLA"], answers["XLA"] = timed(jit()(run), several, kernel)
    for name, choose in ways.items():
        rewrite._fastest = choose
        times[name], answers[name] = timed(jit()(rewrite.rewrite(run)), several, kernel)
    rewrite._fastest = best_of
    for name, answer in answers.items():
        assert (apart := difference(answer, answers["XLA"])) < 1e-4, f"{name} and XLA differ by {apart:.1e}"
    shapes = " * ".join("×".join(map(str, each.shape)) for each in (images, kernel))
    return {"shapes": shapes, "back": backward, "count": count, "choice": chosen[-1], "ms": times}


def strides(equation: Any) -> set[int]:
    from jaxviz.compiling.workarounds import parameters

    params = parameters(equation)
    return {*params["window_strides"], *params["lhs_dilation"], *params["rhs_dilation"]}


def timed(function: Any, images: np.ndarray, kernel: np.ndarray) -> tuple[float, np.ndarray]:
    """The ms of one image, the least of many runs, and the answer."""
    answer = np.asarray(function(images, kernel))
    least, until = float("inf"), time.perf_counter() + SECONDS
    while time.perf_counter() < until or least == float("inf"):
        begin = time.perf_counter()
        function(images, kernel).block_until_ready()
        least = min(least, time.perf_counter() - begin)
    return 1e3 * least / (IMAGES if images.ndim > 4 else 1), answer


def total(rows: list[dict[str, Any]], name: str) -> float:
    """The sum over a network; an algorithm that cannot compute a convolution counts as XLA there."""
    return sum(row["count"] * row["ms"].get(name, row["ms"]["XLA"]) for row in rows)


def best(row: dict[str, Any]) -> float:
    return min(time for name, time in row["ms"].items() if name != "chosen")


def main():
    args = options(__doc__, {"--only": {"nargs": "+", "default": list(NETWORKS), "metavar": "NETWORK"}})
    names = ("MobileNetV2",) if args.quick else args.only
    results = read("convolutions") or {}
    with tempfile.TemporaryDirectory() as folder:
        for network in names:
            shape = prepare(network, file := f"{folder}/{network}.keras").shape
            for instructions, settings in INSTRUCTIONS.items():
                contender = Contender(measured, file, shape, settings)
                for looped in (False, True):
                    rows = contender(looped).value
                    where = f"{network}, {'in a loop' if looped else 'once'}, {instructions}"
                    sums = {name: total(rows, name) for name in ("XLA", "chosen")}
                    sums["best"] = sum(row["count"] * best(row) for row in rows)
                    worse = [row for row in rows if row["ms"]["chosen"] > 1.25 * best(row) + 0.02]
                    print(where, {name: round(value, 1) for name, value in sums.items()}, len(worse), "of", len(rows))
                    for row in worse:
                        print("   ", row["shapes"], "back" if row["back"] else "", row["choice"], row["ms"])
                    results[where] = {"ms": sums, "rows": rows}
                contender.end()
            if not args.quick:
                print(write("convolutions", results))


if __name__ == "__main__":
    main()
