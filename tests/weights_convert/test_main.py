"""The command line.

Law: it prints a table and exits with status 0, or it prints one line on stderr and exits with status 2.
"""

import hashlib
import subprocess
import sys

import pytest
from click.testing import CliRunner
from keras import layers as L  # noqa: N812
from keras_oracle import save, save_weights, sequential

import weights_convert
from weights_convert.__main__ import main


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def model():
    return sequential((8, 8, 3), L.Conv2D(4, 3, name="conv"), L.Flatten(name="flat"), L.Dense(2, name="dense"))


def test_lists_the_layers(model, tmp_path):
    path = save(model, tmp_path / "m.h5")
    result = run(path)
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "layer  kind     output     parameters",
        "conv   Conv2D   (6, 6, 4)         112",
        "flat   Flatten  (144)               0",
        "dense  Dense    (2)               290",
        "total                             402",
        "",
        f"{path.stat().st_size:,} bytes, sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}",
    ]


def test_converts(model, tmp_path):
    result = run(save(model, tmp_path / "m.h5"), "--to", tmp_path / "m.safetensors")
    assert result.exit_code == 0
    assert weights_convert.load(tmp_path / "m.safetensors").names == ("conv", "flat", "dense")


def test_another_format_is_refused_in_one_line(model, tmp_path):
    result = run(save(model, tmp_path / "m.h5"), "--to", tmp_path / "m.pt")
    assert result.exit_code == 2
    assert result.stderr == (
        f"error: the suffix must be one of .safetensors, .h5, .hdf5, .keras; given: {tmp_path / 'm.pt'}\n"
    )


def test_reads_a_strangers_file_in_a_process_of_its_own(model, tmp_path):
    path = save(model, tmp_path / "m.h5")
    assert run(path, "--isolated", "--to", tmp_path / "m.safetensors").stdout == run(path).stdout
    assert weights_convert.load(tmp_path / "m.safetensors").names == ("conv", "flat", "dense")


def test_takes_the_graph_from_a_description(model, tmp_path):
    (tmp_path / "m.json").write_text(model.to_json())
    path = save_weights(model, tmp_path / "w.h5")
    result = run(path, "--architecture", tmp_path / "m.json")
    assert result.exit_code == 0
    assert "conv   Conv2D   (6, 6, 4)         112" in result.stdout


def test_unknown_architectures(tmp_path):
    result = run(tmp_path / "w.h5", "--architecture", "vgg")
    assert result.exit_code == 2
    assert "'vgg' is none of vgg16, " in result.stderr


def test_lists_what_is_not_supported(tmp_path):
    model = sequential((8, 8, 3), L.Conv2D(4, 3, name="conv"), L.Masking(name="mask"), L.Masking(name="mask_2"))
    result = run(save(model, tmp_path / "m.h5"))
    assert result.exit_code == 2
    assert result.stderr == "error: 2 things in this network cannot be reproduced:\n"
    assert result.stdout.splitlines()[:5] == [
        "layer   kind     output  parameters",
        "conv    Conv2D   ?              112",
        "mask    Masking  ?                0",
        "mask_2  Masking  ?                0",
        "total                           112",
    ]
    assert "\n- mask: layers of kind Masking are not supported\n- mask_2: layers of kind Mask" in result.stdout


def test_says_in_one_line_what_is_wrong(model, tmp_path):
    path = save_weights(model, tmp_path / "w.h5")
    for arguments, line in [
        ([tmp_path / "none.h5"], "none.h5 is not there; expected a file of weights\n"),
        ([path], "what model.to_json() gave\n"),
        ([path, "--architecture", "cats_dogs"], "(- what the network needs, + what the file has):\n"),
    ]:
        result = run(*arguments)
        assert result.exit_code == 2
        assert result.stderr.startswith("error: ")
        assert result.stderr.endswith(line)
        assert result.stderr.count("\n") == 1


def test_runs_as_a_module():
    command = [sys.executable, "-m", "weights_convert", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.startswith("Usage: python -m weights_convert [OPTIONS] FILE")
    assert "python -m weights_convert model.keras --to model.safetensors" in result.stdout


def test_own_layers(tmp_path, monkeypatch):
    """`--custom MODULE:NAME` finds a module in the current folder."""
    path = save(sequential((8, 8, 3), L.Lambda(lambda x: 2 * x, name="trick"), L.Flatten()), tmp_path / "m.h5")
    (tmp_path / "my_own_layers.py").write_text("Lambda = lambda x: 2 * x\nall = {'trick': Lambda}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for place in ("my_own_layers:Lambda", "my_own_layers:all"):
        assert run(path, "--custom", place).exit_code == 0
    assert "trick    Custom" in run(path, "--custom", place).stdout
    assert "may be given as a Python function: --custom MODULE:NAME" in run(path).stdout
    for place, reason in (
        ("my_own_layers", "is MODULE:NAME, such as"),
        ("my_own_layers:x", "there is no 'x' in a Python"),
    ):
        assert reason in run(path, "--custom", place).stderr


def test_weights_in_shards(model, tmp_path):
    model.save_weights(tmp_path / "m.weights.json", max_shard_size=1200 / (1 << 30))
    (tmp_path / "model.json").write_text(model.to_json())
    result = run(tmp_path / "m.weights.json", "--architecture", tmp_path / "model.json")
    assert result.exit_code == 0
    *table, _, last = result.stdout.splitlines()
    assert table == run(save(model, tmp_path / "m.h5")).stdout.splitlines()[:-2]
    size = sum(path.stat().st_size for path in tmp_path.glob("m*.weights.*"))
    assert last == f"{size:,} bytes, sha256 {weights_convert.read(tmp_path / 'm.weights.json').sha256}"
