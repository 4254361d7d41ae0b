"""The wheel, installed with the extra `demo` in an empty environment outside the checkout, as a user has it.

Law: everything that `pip install jaxviz-engine[demo]` needs is in the wheel or among the dependencies that it declares.
The other tests cannot hold it: they run in the checkout, in an environment that also has all that the tests need.

The dependencies come from the package registry, so this file needs the network, and takes a minute or two.
"""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_page import check

import jaxviz as jv
import weights_convert
from jaxviz.cli.demo import QUICK

ROOT = Path(__file__).parents[1]
DATA = {
    "jaxviz/ascent/canvases/photographs.npz",
    "jaxviz/py.typed",
    "jaxviz/networks/published.json",
    *(f"jaxviz/page/browser/{path.name}" for path in (ROOT / "jaxviz/page/browser").iterdir()),
    "weights_convert/py.typed",
    "weights_convert/applications.zip",
}

# Imports every module of both packages, and prints the file that each came from. `__main__` is a program.
IMPORTS = """
import importlib, pkgutil

for package in map(importlib.import_module, ("jaxviz", "weights_convert")):
    print(package.__file__)
    for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not found.name.endswith(".__main__"):
            print(importlib.import_module(found.name).__file__)
"""


def run(folder: Path, *command: str | Path) -> str:
    """What a command prints that runs in `folder`, and knows neither the checkout nor this environment."""
    private = ("PYTHON", "JAXVIZ_", "VIRTUAL_ENV")
    known = {name: value for name, value in os.environ.items() if not name.startswith(private)}
    known["JAXVIZ_CACHE"] = str(folder / "cache")
    done = subprocess.run(command, cwd=folder, env=known, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """The folder of the sdist and of the wheel, which is built from the sdist."""
    folder = tmp_path_factory.mktemp("built")
    run(folder, sys.executable, "-m", "build", "--no-isolation", "--outdir", folder, ROOT)
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> Path:
    return next(built.glob("*.whl"))


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory) -> Iterator[Path]:
    """A new environment that has the wheel and the dependencies that it declares, and nothing else."""
    folder = tmp_path_factory.mktemp("environment")
    run(folder, sys.executable, "-m", "venv", "--without-pip", folder)
    pip = (sys.executable, "-m", "pip", "--python", folder / "bin" / "python")
    # Compiling every module to bytecode takes longer than this file saves by it.
    run(folder, *pip, "install", "--no-compile", f"{wheel}[demo]")
    yield folder
    shutil.rmtree(folder)  # a gigabyte; pytest keeps the folders of three runs


def files(package: str) -> set[str]:
    return {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}


def test_the_wheel_has_both_packages_and_their_data(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == files("jaxviz") | files("weights_convert") | DATA


def test_the_wheel_has_the_version_of_the_code(wheel):
    assert jv.__version__ == weights_convert.__version__
    assert wheel.name == f"jaxviz_engine-{jv.__version__}-py3-none-any.whl"


def test_the_sdist_has_the_tests_and_what_its_pages_show(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    pages = {"README.md", "LICENSE", "docs/atlas.jpg", "docs/cat.jpg", "docs/filters.jpg"}
    assert pages | files("tests") | files("examples") | files("benchmarks") <= names


def test_every_module_can_be_imported(environment):
    found = {Path(line) for line in run(environment, environment / "bin" / "python", "-c", IMPORTS).splitlines()}
    packages = next(environment.glob("lib/python*/site-packages"))
    wanted = files("jaxviz") | files("weights_convert")
    assert found == {packages / name for name in wanted if not name.endswith("__main__.py")}


def test_the_demo_runs(environment, tmp_path):
    printed = run(environment, environment / "bin" / "jaxviz", "demo", "--quick", "--out", tmp_path / "pictures")
    check(tmp_path / "pictures", printed, QUICK)
