"""What every benchmark shares: contenders in processes of their own, alternating rounds, limits, and the result file.

    results/<name>.json   {device: {"environment": …, "results": {"rows": [row …], …}}}

A row is one piece of work: the median time of everybody who did it, how many times as long as jaxviz each took (the
median over rounds of the ratio within a round), how far each answer is from ours, and the least that this machine
could need. Running a script on another device adds that device beside the first.
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
PAUSE = 0.05  # seconds before each call: the threads of the one before spin for a while before they sleep


class Answer(NamedTuple):
    """What a contender returned, the seconds that it took, and the most memory its process has held so far, in MB."""

    value: Any
    seconds: float
    peak: float


class Contender:
    """One way to do the work, in a process of its own: no other framework's threads, memory or settings in its way.

    `build(*arguments)`, a function at the top of a module, is called there; it imports its framework and returns the
    function of the work, which this object stands for. `gpu` says whether that framework computes on one.
    """

    def __init__(self, build: Callable, *arguments: Any):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        # What TensorFlow has to say at every import; gone with this object.
        self._log = tempfile.NamedTemporaryFile()  # noqa: SIM115
        self._process = context.Process(target=_serve, args=(theirs, self._log.name, build, arguments), daemon=True)
        self._process.start()
        theirs.close()
        atexit.register(self.end)  # or else multiprocessing would kill it before it has cleaned up
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
    # Before any framework is imported; each takes as much of the machine as it can, and of a GPU what it needs.
    os.environ.update(
        {"TF_ENABLE_ONEDNN_OPTS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}
        | {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "OMP_NUM_THREADS": str(CORES)}
    )
    run = build(*arguments)
    pipe.send(_computes_on_gpu())
    while True:
        try:
            work = pipe.recv()
        except EOFError:  # the other end is closed: the contest is over
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
    """The most memory that this process has held, in MB."""
    status = Path("/proc/self/status")  # getrusage would count the parent's, too: Linux hands it on to a new process
    if status.exists():
        return int(status.read_text().split("VmHWM:")[1].split()[0]) / 1024
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # macOS counts bytes


def contenders(builds: Mapping[str, Callable], *arguments: Any) -> dict[str, Contender]:
    """A contender for each; without those that would compute elsewhere than ours does, which it says."""
    found = {name: Contender(build, *arguments) for name, build in builds.items()}
    for name, contender in list(found.items()):
        if contender.gpu != found[OURS].gpu:
            print(f"{name}: its build here computes on another device than ours, so it is left out")
            found.pop(name).end()
    return found


def race(found: Mapping[str, Contender], *work: Any, rounds: int) -> dict[str, list[float]]:
    """Seconds of each contender's call, taken in turn, so that a machine that slows down slows all of them down.

    Call each once before: what is compiled, loaded or cached at the first call is not part of the claim.
    """
    return alternate({name: lambda c=c: c(*work) for name, c in found.items()}, rounds, lambda answer: answer.seconds)


def alternate(
    ways: Mapping[str, Callable[[], Any]], rounds: int, seconds_of: Callable[[Any], float] | None = None
) -> dict[str, list[float]]:
    """As `race`, of functions; `seconds_of` what they return, or else measured here."""
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
    """The norm of the difference of two answers, relative to the norm of ours."""
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
    """The row of a piece of work, printed and returned, once its answers have been compared.

    Args:
        ours: whom the others are compared with.
        unit: "ms" or "s".
        per: what the seconds are divided by, such as the filters and steps in them.
        differences: of each peer's answer from ours, at most `allowed` or no time is printed.
        floor: the least seconds that this machine could need, of the same total.
        wanted: ratios that the peers should take at least.
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
    """What this machine can do at best: the best that was seen of a large matrix product and of a large copy.

    `floor(model, layer, size)`: the least seconds of one image up to `layer` (of which one channel is asked for, so
    that it does not count), each layer as direct convolution at the speed of the matrix product, or as one reading of
    its input and one writing of its output, whichever takes longer. Winograd's algorithm needs fewer multiplications,
    and what stays in a cache no memory, so that a floor can be passed.
    """

    def __init__(self):
        self.multiplications = self.bytes = 0.0  # a second

    def measure(self) -> None:
        import jax
        import jax.numpy as jnp

        square, long = jnp.ones((3000, 3000)), jnp.ones(2**26)
        product, copy = jax.jit(lambda a: a @ a), jax.jit(lambda a: a + 1)
        ways = {"product": lambda: product(square).block_until_ready(), "copy": lambda: copy(long).block_until_ready()}
        if jax.default_backend() == "cpu":  # NumPy's product may be the faster one
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
    """What jaxviz computes on here: the key of a result."""
    import jax

    first = jax.devices()[0]
    return f"CPU, {CORES} cores{_generation()}" if first.platform == "cpu" else first.device_kind


def write(name: str, results: Any, packages: tuple[str, ...] = ()) -> Path:
    """`results/name.json`: the results of this device and their environment, beside those of other devices."""
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
    """What was last written for this device; None: nothing."""
    path = RESULTS / f"{name}.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return known.get(device(), {}).get("results")


def _generation() -> str:
    """What tells processors of one name apart: ", family 26" of an AMD EPYC."""
    family = _cpuinfo("cpu family")
    return f", family {family}" if family else ""


def _processor() -> str:
    return f"{_cpuinfo('model name') or platform.processor()}, {platform.machine()}"


def _cpuinfo(key: str) -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(key)), "")


def options(description: str | None) -> argparse.Namespace:
    """The command line that all scripts share: `--rounds`, and `--quick` for a look that proves nothing."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often everybody does the work, in turn")
    parser.add_argument("--quick", action="store_true", help="less work and one round, to see that it runs")
    return parser.parse_args()
