"""An atlas on several devices, by several workers, as several jobs, and in an object store.

Laws:
- The number of devices, workers and shards, and which of them dies, change no bit: each device computes as many filters
  at a time as one device does. (A chunk so small that it leaves fewer for each device may differ in the last digit, as
  XLA rounds differently for another number of images.)
- Devices communicate nothing.
- Another chunk size changes no bit, as long as a chunk fills a device.
"""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import distributed
import numpy as np
import pytest
from atlas_network import MANY, contents, network
from moto.server import ThreadedMotoServer

import jaxviz as jv
from jaxviz.atlases import workers

HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def model() -> jv.Model:
    return network(20)


@pytest.fixture(scope="module")
def undisturbed(model, tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("atlas") / "a.zarr"
    jv.atlas(model, path, **MANY)
    return contents(path)


DEVICES = """
import sys
from pathlib import Path
import jax
import jaxviz as jv
from atlas_network import contents, network
from jaxviz.ascent import slots

folder, found, programs = Path(sys.argv[1]), {}, []
devices, climb = jax.local_devices(), slots._climb


def climb_and_keep(*arguments, **more):
    if count == 4 and not programs:
        programs.append(climb.lower(None, *arguments, **more).compile().as_text())
    return climb(*arguments, **more)


slots._climb = climb_and_keep
for count in (1, 2, 4):
    jax.local_devices = lambda: devices[:count]
    # Of 48 pixels, a CPU computes 7 at a time: so 3 × 7 with one device, 2 × 14 with two, and 28 with four.
    settings = {"recipe": "chollet", "size": 48, "steps": 3, "chunk": 28, "robust": False}
    jv.atlas(network(20), folder / f"{count}.zarr", ["second"], **settings)
    found[count] = contents(folder / f"{count}.zarr")
assert found[1] == found[2] == found[4], [name for name in found[1] if found[1][name] != found[4][name]]
print(programs[-1])
"""


def test_one_two_and_four_devices_find_the_same_bits_and_communicate_nothing(tmp_path):
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=4"
    known = os.environ | {"XLA_FLAGS": flags, "PYTHONPATH": f"{HERE}:{os.environ.get('PYTHONPATH', '')}"}
    done = subprocess.run(
        [sys.executable, "-c", DEVICES, tmp_path], env=known, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "num_partitions=4" in done.stdout
    assert not re.findall(r"all-reduce|all-gather|all-to-all|collective-\w+|reduce-scatter", done.stdout)


def test_chunks_of_another_size_hold_the_same_bits(model, tmp_path):
    settings = MANY | {"size": 128, "steps": 2, "chunk": 4}  # of 128 pixels, a CPU computes one at a time
    one = jv.atlas(model, tmp_path / "one.zarr", **settings)["second"]
    other = jv.atlas(model, tmp_path / "other.zarr", **settings | {"chunk": 7})["second"]
    for name in ("image", "exact", "scores"):
        np.testing.assert_array_equal(getattr(one, name)[:], getattr(other, name)[:])


@pytest.mark.parametrize("count", [3, 30])
def test_shards_are_all_of_it_once(model, undisturbed, tmp_path, count):
    done = [jv.atlas(model, tmp_path / "a.zarr", **MANY, shard=(i, count))["second"].done for i in range(count)]
    found = [int(each.sum()) for each in done]
    assert found == sorted(found)
    assert found[-1] == 20
    assert max(np.diff([0, *found])) == -(-20 // count)
    assert contents(tmp_path / "a.zarr") == undisturbed


@pytest.mark.parametrize("shard", [(5, 4), (4, 4), (-1, 4), (0, 0)])
def test_a_shard_that_is_none_is_refused(model, tmp_path, shard):
    with pytest.raises(jv.InputError, match=r"the first of four is \(0, 4\)"):
        jv.atlas(model, tmp_path / "a.zarr", **MANY, shard=shard)
    assert not (tmp_path / "a.zarr").exists()


def test_threads_do_the_chunks(model, undisturbed, tmp_path):
    with ThreadPoolExecutor(2) as executor:
        jv.atlas(model, tmp_path / "a.zarr", **MANY, executor=executor)
    assert contents(tmp_path / "a.zarr") == undisturbed


def test_a_process_that_dies_is_one_sentence_and_the_same_call_goes_on(model, undisturbed, tmp_path):
    path = tmp_path / "a.zarr"
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        pid = executor.submit(os.getpid).result()
        with ThreadPoolExecutor(1) as thread:
            running = thread.submit(jv.atlas, model, path, **MANY, executor=executor)
            wait_for(path, 2)
            os.kill(pid, signal.SIGKILL)
            with pytest.raises(jv.InputError, match=r"a worker died.*the same call goes on"):
                running.result()
    assert 2 <= jv.open_atlas(path)["second"].done.sum() < 20
    jv.atlas(model, path, **MANY)
    assert contents(path) == undisturbed


def test_a_chunk_that_an_executor_drops_is_one_sentence(model, tmp_path):
    """As dask does where all workers that had the model are gone."""

    class Dropping(ThreadPoolExecutor):
        def submit(self, *arguments):
            future = Future()
            future.cancel()
            future.set_running_or_notify_cancel()
            return future

    with pytest.raises(jv.InputError, match=r"the executor dropped a chunk; .*the same call goes on"):
        jv.atlas(model, tmp_path / "a.zarr", **MANY, executor=Dropping(1))


def wait_for(path: Path, chunks: int) -> None:
    while len(list(path.glob("*/fate/c/*"))) < chunks:
        time.sleep(0.01)


@pytest.fixture
def cluster(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{os.environ.get('PYTHONPATH', '')}")
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=":0") as cluster:
        yield cluster


def test_a_worker_of_dask_dies_and_another_does_its_chunks(model, undisturbed, tmp_path, cluster):
    path = tmp_path / "a.zarr"
    with workers.scheduler(cluster.scheduler_address) as executor, ThreadPoolExecutor(1) as thread:
        pids = list(executor._client.run(os.getpid).values())
        running = thread.submit(jv.atlas, model, path, **MANY, executor=executor)
        wait_for(path, 4)
        os.kill(pids[0], signal.SIGKILL)
        running.result()
    assert contents(path) == undisturbed


def test_a_scheduler_that_does_not_answer_is_one_sentence(monkeypatch):
    monkeypatch.setattr(workers, "PATIENCE", 0.2)
    for address in ("tcp://127.0.0.1:1", "nowhere"):
        where = re.escape(f"no scheduler of dask answers at {address!r}")
        with pytest.raises(jv.InputError, match=where), workers.scheduler(address):
            pass


@pytest.fixture
def bucket(monkeypatch):
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    import s3fs

    s3fs.S3FileSystem(skip_instance_cache=True).mkdir("atlases")
    yield "s3://atlases"
    server.stop()


def test_an_object_store_holds_the_same(model, undisturbed, tmp_path, bucket):
    settings = MANY | {"chunk": 10}
    jv.atlas(model, f"{bucket}/a.zarr", **settings, shard=(0, 2))
    found = jv.atlas(model, f"{bucket}/a.zarr", **settings)
    assert repr(found) == f"<Atlas {bucket}/a.zarr: 20 of 20 filters in 1 layers of , chollet>"
    jv.atlas(model, tmp_path / "a.zarr", **settings)
    there, here = found["second"], jv.open_atlas(tmp_path / "a.zarr")["second"]
    for name in ("image", "exact", "scores"):
        np.testing.assert_array_equal(getattr(there, name)[:], getattr(here, name)[:])
    with pytest.raises(jv.InputError, match=r"there is no atlas at s3://atlases/b.zarr"):
        jv.open_atlas(f"{bucket}/b.zarr")
    with pytest.raises(jv.InputError, match=r"the atlas s3://nowhere/a.zarr cannot be written"):
        jv.atlas(model, "s3://nowhere/a.zarr", **MANY)
