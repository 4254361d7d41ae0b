"""What all benchmarks share: contenders in processes of their own, alternating rounds, limits, and the result file.

    results/<name>.json   {device: {"environment": …, "results": {"rows": [row …], …}}}

A row is one piece of work. It holds the median time of everybody who did the work; how many times as long as jaxviz
each of them took, which is the median over rounds of the ratio within a round; how far each answer is from ours; and
the least time that this machine could need. A script that runs on another device adds that device beside the first.
"""

import argparse
import atexit
import datetime
import importlib.metadata
import json
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

HERE = Path(__file__).parent
RESULTS = HERE / "results"
OURS = "jaxviz"
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
PAUSE = 0.05  # seconds before each call: the threads of the call before it spin for a while before they sleep


class Answer(NamedTuple):
    """The value that a contender returned, its seconds, and the peak memory of its process so far, in MB."""

    value: Any
    seconds: float
    peak: float


class Contender:
    """One way to do the work, in a process of its own, so that no other framework's threads or settings disturb it.

    The process calls `build(*arguments)`, a function at the top of a module. `build` imports its framework and returns
    the function that does the work. A call of this object calls that function. `gpu` says whether the framework
    computes on a GPU.
    """

    def __init__(self, build: Callable, *arguments: Any):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # TensorFlow logs messages at every import. The file goes away with this object.
        self._log = tempfile.NamedTemporaryFile()  # noqa: SIM115
        self._process = context.Process(target=_serve, args=(theirs, self._log.name, build, arguments), daemon=True)
        self._process.start()
        theirs.close()
        atexit.register(self.end)  # otherwise multiprocessing kills it before it has cleaned up
        self.gpu: bool = self._receive()

    def __call__(self, *work: Any) -> Answer:
        self._pipe.send(work)
        return Answer(*self._receive())

    def _receive(self) -> Any:
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError(f"a contender failed:\n{self._log.read().decode()}") from None

    def end(self) -> None:
        self._pipe.close()
        self._process.join()


def _serve(pipe: Any, log: str, build: Callable, arguments: tuple) -> None:
    with open(log, "wb") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    # Set before any framework is imported: each uses all cores, and only as much memory of a GPU as it needs.
    os.environ.update(
        {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "OMP_NUM_THREADS": str(CORES)}
    )
    run = build(*arguments)
    pipe.send(_computes_on_gpu())
    while True:
        try:
            work = pipe.recv()
        except EOFError:  # the other end is closed, so there is no more work
            return
        begin = time.perf_counter()
        value = run(*work)
        pipe.send((value, time.perf_counter() - begin, peak_memory()))


def _computes_on_gpu() -> bool:
    if "torch" in sys.modules:
        return bool(sys.modules["torch"].cuda.is_available())
    if "tensorflow" in sys.modules and os.environ.get("KERAS_BACKEND") != "jax":
        return bool(sys.modules["tensorflow"].config.list_physical_devices("GPU"))
    import jax

    return jax.default_backend() != "cpu"


def peak_memory() -> float:
    """The peak memory of this process, in MB."""
    status = Path("/proc/self/status")  # on Linux, getrusage also counts the peak of the parent process
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def contenders(builds: Mapping[str, Callable], *arguments: Any) -> dict[str, Contender]:
    """A contender for each of `builds`. Any that computes on another device than ours is left out, and named."""
    found = {name: Contender(build, *arguments) for name, build in builds.items()}
    for name, contender in list(found.items()):
        if contender.gpu != found[OURS].gpu:
            print(f"{name}: its build here computes on another device than ours, so it is left out")
            found.pop(name).end()
    return found


def race(found: Mapping[str, Contender], *work: Any, rounds: int) -> dict[str, list[float]]:
    """The seconds of each contender's calls. They take turns, so that a machine that slows down slows all of them.

    Call each contender once before: compiling, loading and caching at the first call are not part of the claim.
    """
    return alternate({name: lambda c=c: c(*work) for name, c in found.items()}, rounds, lambda answer: answer.seconds)


def faster_batch(contender: Contender, *work: Any, most: int | None = None) -> int:
    """The number of images at a time, one or all, that takes less time once it is compiled.

    The images are the last of `work`, and the contender takes the number as one more argument. `most` is the number of
    images that the contender makes of them; None: the images themselves.
    """
    seconds = {}
    for batch in sorted({1, most or len(work[-1])}):
        contender(*work, batch)
        seconds[batch] = contender(*work, batch).seconds
    return min(seconds, key=seconds.__getitem__)


def at_a_time(contender: Contender, batch: int) -> Callable[..., Answer]:
    """The contender, which gets `batch` as its last argument."""
    return lambda *work: contender(*work, batch)


def in_batches(function: Callable[[np.ndarray], np.ndarray], images: np.ndarray, batch: int) -> np.ndarray:
    """The results `[n …]` of a function of some images, for all of them, `batch` at a time."""
    return np.concatenate([function(images[i : i + batch]) for i in range(0, len(images), batch)])


def alternate(
    ways: Mapping[str, Callable[[], Any]], rounds: int, seconds_of: Callable[[Any], float] | None = None
) -> dict[str, list[float]]:
    """The seconds of each function's calls, taken in turn: `seconds_of` its value, or else the time measured here."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            time.sleep(PAUSE)
            begin = time.perf_counter()
            value = run()
            taken = time.perf_counter() - begin
            seconds[name].append(seconds_of(value) if seconds_of else taken)
    return seconds


def median_ratio(theirs: list[float], ours: list[float]) -> float:
    """How many times as long they take: the median over rounds of the ratio within a round."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def difference(theirs: Any, ours: Any) -> float:
    """The norm of the difference between two answers, relative to the norm of ours."""
    theirs, ours = np.asarray(theirs, np.float64), np.asarray(ours, np.float64)
    assert theirs.shape == ours.shape, f"{theirs.shape} is not {ours.shape}"
    return float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours))


def row(
    work: str,
    seconds: Mapping[str, list[float]],
    *,
    ours: str = OURS,
    unit: str = "ms",
    per: float = 1,
    differences: Mapping[str, float] | None = None,
    allowed: float = 1e-3,
    floor: float | None = None,
    wanted: Mapping[str, float] | None = None,
) -> dict[str, Any]:
    """The row of a piece of work, which is printed, too. No time is printed before the answers have been compared.

    Args:
        work: the name of the work.
        seconds: the seconds of everybody in each round.
        ours: the contender that the others are compared with.
        unit: "ms" or "s".
        per: the number that the seconds are divided by, such as filters × steps.
        differences: how far each peer's answer is from ours.
        allowed: the largest difference that is accepted.
        floor: the least seconds that this machine could need for the whole work.
        wanted: the ratio that each peer should reach at least.

    Raises:
        AssertionError: a difference is larger than `allowed`.
    """
    differences = dict(differences or {})
    for name, value in differences.items():
        assert value <= allowed, f"{work}: the answers of {name} and {ours} differ by {value:.1e}"
    scale = {"ms": 1e3, "s": 1}[unit] / per
    times = {name: scale * statistics.median(each) for name, each in seconds.items()}
    ratios = {name: median_ratio(each, seconds[ours]) for name, each in seconds.items() if name != ours}
    print(f"{work}, {unit}")
    for name, value in times.items():
        ratio = f"{ratios[name]:8.2f} ×" if name in ratios else ""
        goal = f"  (wanted: {wanted[name]})" if wanted and name in wanted else ""
        print(f"    {name:<28}{value:10.2f}{ratio}{goal}")
    result = {
        "work": work,
        "unit": unit,
        "against": ours,
        "time": {name: _short(value) for name, value in times.items()},
        "ratio": {name: round(value, 2) for name, value in ratios.items()},
        "rounds": len(seconds[ours]),
    }
    if wanted:
        result["wanted"] = {name: value for name, value in wanted.items() if name in ratios}
    if differences:
        result["difference"] = {name: _short(value, 2) for name, value in differences.items()}
    if floor is not None:
        result["floor"] = _short(scale * floor)
        print(f"    {'floor':<28}{scale * floor:10.2f}")
    sys.stdout.flush()
    return result


def _short(value: float, digits: int = 3) -> float:
    return float(f"{value:.{digits}g}")


class Limits:
    """The most that this machine can do: the best speed that was measured of a large matrix product and a large copy.

    `floor(model, layer, size)` is the least seconds that one image needs up to `layer`. One channel of `layer` is asked
    for, so `layer` itself does not count. Each layer counts as a direct convolution at the speed of the matrix product,
    or as one reading of its input and one writing of its output, whichever takes longer. A program can be faster than
    this floor: Winograd's algorithm needs fewer multiplications, and values in a cache need no memory traffic.
    """

    def __init__(self):
        self.multiplications = self.bytes = 0.0  # a second

    def measure(self) -> None:
        import jax
        import jax.numpy as jnp

        square, long = jnp.ones((3000, 3000)), jnp.ones(2**26)
        product, copy = jax.jit(lambda a: a @ a), jax.jit(lambda a: a + 1)
        ways = {"product": lambda: product(square).block_until_ready(), "copy": lambda: copy(long).block_until_ready()}
        if jax.default_backend() == "cpu":  # the product of NumPy may be faster
            array = np.asarray(square)
            ways["in NumPy"] = lambda: array @ array
        least = {name: min(seconds) for name, seconds in alternate(ways, 4).items()}
        speed = len(square) ** 3 / min(least["product"], least.get("in NumPy", least["product"]))
        self.multiplications = max(self.multiplications, speed)
        self.bytes = max(self.bytes, 2 * long.nbytes / least["copy"])

    def floor(self, model: Any, layer: str, size: int) -> float:
        shapes, total, before = model.shapes(size), 0.0, (size, size, 3)
        for each in model.table[: model.layers.index(layer)]:
            shape = shapes[each.name]
            if each.parameters and len(shape) == 3:
                multiplications = np.prod(shape[:2]) * (each.parameters - shape[2])
                moved = 4 * (np.prod(before) + np.prod(shape) + each.parameters)
                total += max(multiplications / self.multiplications, moved / self.bytes)
            before = shape
        return total


def device() -> str:
    """The device that jaxviz computes on here, which is the key of a result."""
    import jax

    first = jax.devices()[0]
    return f"CPU, {CORES} cores{_generation()}" if first.platform == "cpu" else first.device_kind


def write(name: str, results: Any, packages: tuple[str, ...] = ()) -> Path:
    """The path of `results/name.json`, where the results of this device and its environment are written."""
    names = ("jaxviz-engine", "jax", "jaxlib", "flax", "numpy", *packages)
    environment = {
        "date": datetime.date.today().isoformat(),
        "processor": _processor(),
        "cores": CORES,
        "load before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in names},
    }
    path = RESULTS / f"{name}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    known[device()] = {"environment": environment, "results": results}
    RESULTS.mkdir(exist_ok=True)
    path.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read(name: str) -> Any:
    """The results that were last written for this device, or None."""
    path = RESULTS / f"{name}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known.get(device(), {}).get("results")


def _generation() -> str:
    """The family of the processor, such as ", family 26": two kinds of AMD EPYC have the same name."""
    family = _cpuinfo("cpu family")
    return f", family {family}" if family else ""


def _processor() -> str:
    return f"{_cpuinfo('model name') or platform.processor()}, {platform.machine()}"


def _cpuinfo(key: str) -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def options(description: str | None, more: Mapping[str, Mapping[str, Any]] | None = None) -> argparse.Namespace:
    """The command line that all scripts share: `--rounds`, and `--quick` for a try that measures nothing.

    Args:
        more: {another option: the arguments of `add_argument` for it}.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender does the work, in turn")
    parser.add_argument("--quick", action="store_true", help="less work and one round, to see that the script runs")
    for name, arguments in (more or {}).items():
        parser.add_argument(name, **arguments)
    return parser.parse_args()
