"""Laws: a second process compiles nothing that a first one has compiled; no other user can write to the folder.

The command line keeps what it compiles, unless JAX's own settings say otherwise.
"""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

import jaxviz as jv

CODE = """
import sys, jax, jax.monitoring, jaxviz as jv
hits = []
jax.monitoring.register_event_listener(lambda event, **kw: hits.append(event))
jv.keep_compilations(sys.argv[1])
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
print(jax.jit(lambda x: jax.numpy.sin(x) @ x)(jax.numpy.ones((8, 8))).sum())
print("/jax/compilation_cache/cache_hits" in hits)
"""


def test_the_second_process_compiles_nothing(tmp_path):
    folder = tmp_path / "kept"
    found = []
    for _ in range(2):
        run = subprocess.run([sys.executable, "-c", CODE, folder], check=True, capture_output=True, text=True)
        found.append(run.stdout.split())
    assert found[0][0] == found[1][0]
    assert [hit for _, hit in found] == ["False", "True"]
    (place,) = folder.iterdir()
    assert place.stat().st_mode & 0o077 == 0


@pytest.mark.skipif(os.name != "posix", reason="folders have no mode bits there")
def test_a_folder_that_others_can_write_to_is_refused(tmp_path):
    tmp_path.chmod(0o777)
    with pytest.raises(jv.InputError, match=r"closed to other users.*; given: mode 777"):
        jv.keep_compilations(tmp_path)


def test_a_cache_has_room(tmp_path):
    with pytest.raises(jv.InputError, match="megabytes is a whole number, 1 or more; given: -1"):
        jv.keep_compilations(tmp_path, megabytes=-1)


@pytest.mark.skipif(os.name != "posix", reason="folders have no mode bits there")
def test_folders_are_private_whatever_the_umask(tmp_path, own_settings):
    before = os.umask(0o002)  # the usual one of many Linux systems
    try:
        place = jv.keep_compilations(tmp_path / "cache" / "compilations")
    finally:
        os.umask(before)
    assert [each.stat().st_mode & 0o777 for each in (place, place.parent)] == [0o700, 0o700]


@pytest.fixture
def own_settings():
    """JAX's settings of its cache are put back after the test."""
    names = [name for name in jax.config.values if name.startswith(("jax_compilation_cache", "jax_persistent_cache"))]
    before = {name: jax.config.values[name] for name in names}
    yield
    for name, value in before.items():
        jax.config.update(name, value)


@pytest.fixture
def command(cats_and_dogs_file, tmp_path):
    """A function that runs `jaxviz activations` in a process of its own, and returns the programs that are kept."""
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / "image.png")
    words = [
        sys.executable,
        "-m",
        "jaxviz",
        "activations",
        cats_and_dogs_file,
        tmp_path / "image.png",
        "--out",
        tmp_path,
    ]
    usual = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}

    def run(**settings):
        environment = usual | {"JAXVIZ_CACHE": str(tmp_path / "cache")} | settings
        done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=300, env=environment)
        return {path.name: path.stat().st_mtime_ns for path in tmp_path.glob("cache/**/*-cache")}, done.stderr

    return run


def test_a_command_compiles_nothing_that_one_before_it_has_compiled(command):
    kept, _ = command()
    assert kept
    assert command()[0] == kept


def test_a_command_follows_the_settings_of_jax(command, tmp_path):
    assert command(JAX_ENABLE_COMPILATION_CACHE="false")[0] == {}
    assert command(JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"))[0] == {}


@pytest.mark.skipif(os.name != "posix", reason="folders have no mode bits there")
def test_a_command_runs_without_a_folder_that_others_can_write_to(command, tmp_path):
    (tmp_path / "cache" / "compilations").mkdir(parents=True)
    (tmp_path / "cache" / "compilations").chmod(0o777)
    kept, said = command()
    assert kept == {}
    assert said.count("\n") == 1
    assert said.startswith("jaxviz: compiled programs are not kept: ")
