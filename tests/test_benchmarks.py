"""Law: a benchmark prints no time before the answers have been compared, and compares times within a round only.

Also: every name that a benchmark imports from this project exists.
"""

import ast
import importlib
import json
import operator
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def common(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import common

    return common


@pytest.fixture
def report(common, tmp_path, monkeypatch):
    import report

    monkeypatch.setattr(report, "RESULTS", tmp_path)
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    return report


def test_a_contender_works_in_a_process_of_its_own(common):
    contender = common.Contender(operator.methodcaller, "upper")
    answer = contender("abc")
    assert answer.value == "ABC"
    assert answer.seconds < 1
    assert answer.peak > 1
    assert not contender.gpu
    with pytest.raises(RuntimeError, match="AttributeError: 'int' object has no attribute 'upper'"):
        contender(3)
    contender.end()


def test_everybody_takes_turns(common):
    order = []
    ways = {"slow": lambda: time.sleep(0.05) or order.append("slow"), "fast": lambda: order.append("fast")}
    seconds = common.alternate(ways, 3)
    assert order == ["slow", "fast"] * 3
    assert [len(each) for each in seconds.values()] == [3, 3]
    assert min(seconds["slow"]) > 0.05 > max(seconds["fast"])


def test_a_ratio_is_the_median_of_rounds(common):
    """A machine that slows down for a round slows both contenders down, so the ratio within a round stays the same."""
    seconds = {"jaxviz": [0.1, 0.5, 0.1], "theirs": [0.2, 1.0, 0.3]}
    row = common.row("work", seconds, per=10, floor=0.05, wanted={"theirs": 3, "nobody": 2})
    assert row["time"] == {"jaxviz": 10, "theirs": 30}
    assert row["ratio"] == {"theirs": 2}
    assert row["wanted"] == {"theirs": 3}
    assert row["floor"] == 5
    assert common.row("work", seconds, ours="theirs", unit="s")["time"] == {"jaxviz": 0.1, "theirs": 0.3}


def test_no_time_without_the_right_answer(common, capsys):
    theirs, ours = np.full((2, 2), 1.1), np.ones((2, 2))
    assert common.difference(theirs, ours) == pytest.approx(0.1)
    differences = {"theirs": common.difference(theirs, ours)}
    with pytest.raises(AssertionError, match=r"answers of theirs and jaxviz differ by 1.0e-01"):
        common.row("work", {"jaxviz": [1], "theirs": [1]}, differences=differences)
    assert not capsys.readouterr().out
    with pytest.raises(AssertionError, match="is not"):
        common.difference(theirs[0], ours)


def test_the_floor_counts_the_layers_below(common, vgg):
    limits = common.Limits()
    limits.multiplications, limits.bytes = 1e9, 1e30
    first = 32 * 32 * 9 * 3 * 64
    assert limits.floor(vgg, "block1_conv2", 32) == pytest.approx(first / 1e9)
    assert limits.floor(vgg, "block2_conv1", 32) == pytest.approx((first + 32 * 32 * 9 * 64 * 64) / 1e9)
    limits.bytes = 1e3
    moved = 4 * (32 * 32 * (3 + 64) + 9 * 3 * 64 + 64)
    assert limits.floor(vgg, "block1_conv2", 32) == pytest.approx(moved / 1e3)


def test_results_of_several_devices_lie_side_by_side(common, report, tmp_path, monkeypatch):
    row = common.row("sweep, 64²", {"jaxviz": [0.01], "peer": [0.012]}, wanted={"peer": 1.5}, floor=0.005)
    for device in ("CPU, 2 cores", "a GPU"):
        monkeypatch.setattr(common, "device", lambda device=device: device)
        common.write("sweep", {"claim": "ms of it", "rows": [row], "peak memory, MB": {"8 filters": 700}})
    assert common.read("sweep")["rows"] == [row]
    assert list(json.loads((tmp_path / "sweep.json").read_text(encoding="utf-8"))) == ["CPU, 2 cores", "a GPU"]
    (tmp_path / "other.json").write_text(json.dumps({"a GPU": {"results": {"cases": 3}}}))
    page = report.write_page().read_text(encoding="utf-8")
    assert page.count("| sweep, 64², ms | 10 | 12 (**1.20 ×**, aim 1.5) | 5 |") == 2
    assert page.count("| jaxviz on | CPU, 2 cores | a GPU |\n|---|---|---|\n| sweep, 64², ms | 10 | 10 |") == 1
    assert "Ms of it. a GPU (" in page
    assert "Peak memory, MB: 8 filters: 700" in page
    assert "other" not in page
    assert {path.name for path in tmp_path.glob("*.png")} == {"sweep.png", "sweep_1.png"}


@pytest.mark.parametrize("script", sorted(BENCHMARKS.glob("*.py")), ids=lambda script: script.stem)
def test_names_that_a_benchmark_imports_exist(script):
    """Benchmarks import inside functions, so that importing a benchmark would not show a name that has gone."""
    for statement in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.ImportFrom) and statement.module.split(".")[0] in ("jaxviz", "weights_convert"):
            module = importlib.import_module(statement.module)
            for alias in statement.names:
                assert hasattr(module, alias.name), f"{statement.module}.{alias.name}"


def test_the_suite_names_scripts_that_exist(common):
    import suite

    assert all((BENCHMARKS / f"{name}.py").exists() for name in suite.NAMES)


@pytest.fixture
def accelerators(common, monkeypatch):
    """The script; it sets these variables where they are not set."""
    for name, value in (("JAX_PLATFORMS", "cpu"), ("TPU_SKIP_MDS_QUERY", "1"), ("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")):
        monkeypatch.setenv(name, value)
    import accelerators

    return accelerators


def test_the_text_of_a_program_says_what_it_moves(accelerators):
    def compiled(function, *args):
        return jax.jit(function).lower(*args).compile().as_text()

    x = np.ones((512, 1024), np.float32)
    assert accelerators.hlo.traffic(compiled(lambda x: jnp.sin(x) + x, x)) == 2 * x.nbytes
    text = compiled(lambda x, i: jnp.zeros(x.shape).at[i].add(x), x, np.arange(512))
    assert accelerators.hlo.slow(text) == {"scatter": 1}
    assert accelerators.hlo.slow(text, least=x.nbytes + 1) == {}
    assert "float64" in accelerators.hlo.slow("main {\n  ROOT %sum = f64[3]{0} add(%a, %b)\n}")


def test_a_loop_counts_as_often_as_it_runs_or_once(accelerators):
    loop = """body {{
  %product = f32[2]{{0}} fusion(%p), kind=kLoop, backend_config={{"estimated_cycles":"{cost}"}}
}}

ENTRY main {{
  %first = f32[2]{{0}} fusion(%p), kind=kLoop, backend_config={{"estimated_cycles":"7"}}
  %loop = f32[2]{{0}} while(%first), condition=%test, body=%body{trips}
}}"""
    known = ', backend_config={"known_trip_count":{"n":"3"}}'
    assert accelerators.hlo.cycles(loop.format(cost=50, trips=known)) == 7 + 3 * 50
    assert accelerators.hlo.cycles(loop.format(cost=50, trips="")) == 50  # of an ascent, one step
    assert accelerators.hlo.cycles(loop.format(cost=5, trips="")) == 7 + 5  # the loop is a small part of the program


def test_a_program_that_jaxlib_cannot_print_has_no_text(accelerators):
    class Unprintable:
        def __init__(self, message):
            self.message = message

        def as_text(self):
            raise jax.errors.JaxRuntimeError(self.message)

    assert accelerators.text_of(Unprintable("INTERNAL: async-update instruction should have 1 operands")) == ""
    with pytest.raises(jax.errors.JaxRuntimeError, match="another fault"):
        accelerators.text_of(Unprintable("another fault"))
    row = {"arithmetic": 2e9, "FLOPs": 2e9, "bytes": 1e9, "estimate": 1.0, "roofline": 1.0, "bound": "memory"}
    assert accelerators.cells(row | {"temporaries": 1e6})[-2:] == ["–", "–"]


def test_what_devices_say_to_each_other_is_counted(accelerators):
    lines = ("%sum = f32[3]{0} all-reduce(%a)", "%start = f32[3]{0} all-gather-start(%a)", "%b = f32[3]{0} add(%a)")
    text = "\n  ".join(("main {", *lines)) + "\n}"
    assert accelerators.hlo.communication(text) == {"all-reduce": 1, "all-gather": 1}


@pytest.mark.parametrize("strides", [(1, 1), (2, 1)])
def test_the_arithmetic_leaves_out_products_with_padding(accelerators, strides):
    """XLA counts an addition for each multiplication, but the first of each sum."""

    def loss(x, kernel):
        return (jax.lax.conv_general_dilated(x, kernel, strides, "SAME") @ jnp.ones((9, 2))).sum()

    args = np.ones((2, 4, 9, 9), np.float32), np.ones((5, 4, 3, 3), np.float32)
    gradient = jax.jit(jax.value_and_grad(loss))
    counted = 2 * accelerators.multiplications(gradient.trace(*args).jaxpr)
    assert counted == pytest.approx(gradient.lower(*args).cost_analysis()["flops"], rel=0.02)


def test_a_program_for_a_tpu_is_lowered_without_one(accelerators):
    program = accelerators.ascent(2, platform="tpu", dtype="bfloat16")
    text = program.function.lower("tpu", *program.args).as_text()
    assert text.count("stablehlo.convolution") == 8  # the channel of the last layer is a matrix product
    assert "stablehlo.select_and_scatter" in text
    assert "bf16" in text
