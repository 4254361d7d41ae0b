"""Laws: a second process compiles nothing that a first one has compiled; no other user can write to the folder."""

import os
import subprocess
import sys

import pytest

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
