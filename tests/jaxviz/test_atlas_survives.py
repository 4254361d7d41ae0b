"""An atlas survives whatever stops it.

Laws:
- Whichever write is the last before the process ends, each chunk that is marked is whole, and the same call goes on to
  the bits of an undisturbed atlas. So it is after SIGKILL at any moment, and after a full disk, which is one sentence.
- A damaged chunk is not shown; `verify` finds it and makes it again.
- Two writers at once lose nothing.
"""

import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
from atlas_network import SETTINGS, contents, network
from zarr.storage import LocalStore

import jaxviz as jv
from jaxviz.atlases.store import Store

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def model() -> jv.Model:
    return network()


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("atlas") / "a.zarr"
    jv.atlas(model, path, **SETTINGS)
    return contents(path)


def objects(array: Path, chunk: int) -> list[Path]:
    """The files of a chunk."""
    found = [each for each in (array / "c").rglob("*") if each.is_file()]
    return [each for each in found if each.relative_to(array / "c").parts[0] == str(chunk)]


@pytest.mark.parametrize("place", ["0001", "0001/image", "0001/fate"])
@pytest.mark.parametrize("text", ["", "{"])
def test_a_description_that_a_power_cut_took_is_made_again(model, undisturbed, tmp_path, place, text):
    path = tmp_path / "a.zarr"
    jv.atlas(model, path, **SETTINGS)
    (path / place / "zarr.json").write_text(text)
    with pytest.raises(jv.InputError, match=f"{place} of the atlas .* cannot be read: .*the call that made"):
        print(jv.open_atlas(path)["second"].image[0], jv.open_atlas(path)["second"].done)
    jv.atlas(model, path, **SETTINGS, verify=True)
    assert contents(path) == undisturbed


def test_a_writer_that_died_at_its_first_write_is_no_hindrance(model, undisturbed, tmp_path, monkeypatch):
    """As after SIGKILL: what Zarr has written of the manifest has another name, and no manifest is there."""

    def killed(self, *arguments):
        raise Stopped

    with monkeypatch.context() as patch:
        for name in ("link", "rename", "replace"):
            patch.setattr(os, name, killed)
        with pytest.raises(Stopped):
            jv.atlas(model, tmp_path / "a.zarr", **SETTINGS)
    assert [each.suffix for each in (tmp_path / "a.zarr").iterdir()] == [".partial"]
    jv.atlas(model, tmp_path / "a.zarr", **SETTINGS)
    assert contents(tmp_path / "a.zarr") == undisturbed


class Stopped(BaseException):
    """As abrupt as Ctrl-C."""


def test_any_write_may_be_the_last(model, undisturbed, tmp_path, monkeypatch):
    write = LocalStore._set
    writes = 0

    async def counted(self, key, *arguments, **more):
        nonlocal writes
        if writes == 0:
            raise Stopped
        writes -= 1
        await write(self, key, *arguments, **more)

    for last in count(0, 4):
        path, stopped = tmp_path / f"{last}.zarr", False
        with monkeypatch.context() as patch:
            patch.setattr(LocalStore, "_set", counted)
            writes = last
            try:
                jv.atlas(model, path, **SETTINGS)
            except Stopped:
                stopped = True
        jv.atlas(model, path, **SETTINGS, verify=True)  # a warning of a damaged chunk would be an error
        assert contents(path) == undisturbed
        if not stopped:  # it had enough writes
            break
    assert last > 40


PROGRAM = f"""
import os, random, signal, sys, time
sys.path.insert(0, {os.fspath(HERE)!r})
from pathlib import Path
import jaxviz as jv
from atlas_network import MANY, contents, network

folder = Path(sys.argv[1])


def begin(path):
    # A copy of this process, which has imported all and started no backend of JAX.
    child = os.fork()
    if not child:
        jv.atlas(network(20), path, **MANY)
        os._exit(0)
    return child


def ended(child):
    assert os.waitpid(child, 0)[1] == 0


ended(begin(folder / "first.zarr"))  # it compiles; the others find the programs on disk, and nobody writes there
began = time.perf_counter()
ended(begin(folder / "undisturbed.zarr"))
long = time.perf_counter() - began
draw, deaths, stores = random.Random(0), 0, [folder / "0.zarr"]
while deaths < 20:
    child = begin(stores[-1])
    time.sleep(draw.uniform(0.1, 0.9) * long)
    os.kill(child, signal.SIGKILL)
    deaths += os.waitpid(child, 0)[1] == signal.SIGKILL
    there = len(list(stores[-1].glob("*/fate/c/*")))
    print(deaths, "deaths,", there, "chunks", flush=True)
    if there == 20:
        stores.append(folder / f"{{len(stores)}}.zarr")
known = contents(folder / "undisturbed.zarr")
for store in stores:
    ended(begin(store))
    assert contents(store) == known
for child in [begin(folder / "twice.zarr"), begin(folder / "twice.zarr")]:
    ended(child)
assert contents(folder / "twice.zarr") == known
"""


def test_twenty_sigkills_and_two_writers_at_once_leave_the_same_bits(tmp_path):
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    known = os.environ | cache
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path], env=known, capture_output=True, text=True, check=False
    )
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_full_disk_is_one_sentence_and_the_same_call_goes_on(model, undisturbed, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1800, hard))  # the pictures of a chunk are larger, all else is smaller
    try:
        with pytest.raises(jv.InputError, match=r"cannot be written: File too large; what is finished is kept"):
            jv.atlas(model, tmp_path / "a.zarr", **SETTINGS)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not any(layer.done.any() for layer in jv.open_atlas(tmp_path / "a.zarr"))
    jv.atlas(model, tmp_path / "a.zarr", **SETTINGS)
    assert contents(tmp_path / "a.zarr") == undisturbed


@pytest.mark.parametrize("array", ["image", "scores", "robust", "fate"])
def test_a_flipped_byte_is_found(model, undisturbed, tmp_path, array):
    path = tmp_path / "a.zarr"
    jv.atlas(model, path, **SETTINGS)
    (file,) = objects(path / "0001" / array, 1)
    damaged = bytearray(file.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    file.write_bytes(damaged)
    layer = jv.open_atlas(path)["second"]
    if array == "fate":  # a marker that cannot be read marks nothing
        assert layer.done.tolist() == [True] * 3 + [False] * 3 + [True]
        jv.atlas(model, path, **SETTINGS)
    else:
        with pytest.raises(jv.InputError, match=f"0001/{array} of .* is damaged, at filters 3 to 5: .*verify=True"):
            getattr(layer, array)[3:6]
        with pytest.warns(jv.JaxvizWarning, match=rf"1 chunks were damaged.*second 3 to 5 \({array}\)"):
            jv.atlas(model, path, **SETTINGS, verify=True)
    assert contents(path) == undisturbed


def test_a_lost_file_is_found(model, undisturbed, tmp_path):
    path = tmp_path / "a.zarr"
    jv.atlas(model, path, **SETTINGS)
    (file,) = objects(path / "0000" / "exact", 1)
    file.unlink()
    with pytest.raises(jv.InputError, match=r"0000/exact of .* filters 3 to 3: chunk 1 is not there"):
        jv.open_atlas(path)["first"].exact[3]
    with pytest.warns(jv.JaxvizWarning, match=r"first 3 to 4 \(exact\)"):
        jv.atlas(model, path, **SETTINGS, verify=True)
    assert contents(path) == undisturbed


def test_threads_that_write_at_once_lose_nothing(model, undisturbed, tmp_path):
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: jv.atlas(model, tmp_path / "a.zarr", **SETTINGS), range(2)))
    assert contents(tmp_path / "a.zarr") == undisturbed


def test_an_atlas_that_another_writer_makes_just_after_the_look_is_continued(model, undisturbed, tmp_path, monkeypatch):
    look, path = Store._text, tmp_path / "a.zarr"
    path.mkdir()

    def late(self, key):
        found = look(self, key)
        monkeypatch.setattr(Store, "_text", look)
        jv.atlas(model, path, **SETTINGS)
        return found

    monkeypatch.setattr(Store, "_text", late)
    jv.atlas(model, path, **SETTINGS)
    assert contents(path) == undisturbed
