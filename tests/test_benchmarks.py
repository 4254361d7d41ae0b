"""The functions that all benchmarks share (`benchmarks/common.py` and `report.py`).

Law: no time is reported before the answers of all contenders agree.
Law: contenders take turns, each in a process of its own, and a ratio is the median over the rounds, so a machine that
slows down for a while changes the times and not the ratios.
Law: results of several devices are kept and shown side by side.
"""

import json
import operator
import time
from pathlib import Path

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
    """A machine that is slow during one round slows both contenders, and their ratio stays the same."""
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


def test_the_suite_names_what_there_is(common):
    import suite

    assert all((BENCHMARKS / f"{name}.py").exists() for name in suite.NAMES)
