"""A file or folder that is no file of Keras → what it is, by its first bytes, and how to get a file that is read here.

The law: nothing is unpacked, executed or imported to find it out.
"""

import re
from collections.abc import Iterable
from pathlib import Path

HEAD = 4096  # bytes; enough for all that is looked for
NUMPY = b"\x93NUMPY"
HDF5 = b"\x89HDF\r\n\x1a\n"
FIRST_BLOCK = 512  # bytes; HDF5 may begin after a block of this length, or of twice, four times … as many
LAST_BLOCK = 1 << 20
TABLE = bytes.fromhex("57fb808b247547db")  # the end of the index of a TensorFlow checkpoint

KERAS = "load the Keras model that it was made from, or its weights with architecture=…"
SAVED_MODEL = (
    'in Python, `tf.keras.models.load_model({folder!r}).save("m.keras")` writes a file that is read here (from '
    "TensorFlow 2.16 on, `tf_keras.models.load_model` of the package tf-keras); a model that was exported without "
    "Keras has no layers to look at"
)
CHECKPOINT = (
    "a TensorFlow checkpoint, weights without a network. In Python, build the network as it was trained, then "
    '`model.load_weights({prefix!r}); model.save("m.keras")`'
)
TORCH = (
    "a file of PyTorch, weights without a network. Build the same network in Keras or Flax, copy the arrays of its "
    "`state_dict` (a kernel [o i h w] is [h w i o] there), and save it with Keras, or wrap the Flax module with "
    "jaxviz.wrap"
)
ARCHITECTURE = (
    "the description of a network, without weights (what `model.to_json()` gave): pass it, as a .json file, with the "
    'file of weights, load("weights.h5", architecture={path!r})'
)
UNPACK = "an archive: unpack it, and load the file in it"

# (first bytes, what such a file is and what to do)
BEGINNINGS = (
    (
        b"version https://git-lfs.github.com/spec/",
        "a Git LFS pointer, a few lines that stand for the file: get the file with `git lfs pull`, or download it from "
        "the page of the repository",
    ),
    (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", TORCH),
    (NUMPY, "an array of NumPy, without a network: put it into the Keras model with `model.set_weights`, and save it"),
    (b"MATLAB 5.0", "a file of MATLAB: " + KERAS),
    (b"\x1f\x8b", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", UNPACK),
    (b"Rar!", UNPACK),
    (b"\xfd7zXZ\0", UNPACK),
    (b"BZh", UNPACK),
    (b"GGUF", "a language model in the format GGUF, not a network for images"),
)
PICTURE = re.compile(rb"\x89PNG|\xff\xd8\xff|GIF8|II\*\0|MM\0\*|BM....\0\0\0\0|RIFF....WEBP", re.DOTALL)
PICKLE = re.compile(rb"\x80[\x02-\x05].*", re.DOTALL)
PAGE = re.compile(
    rb"(?:\xef\xbb\xbf)?\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)*<(!doctype|html|head|body|script)\b",
    re.IGNORECASE | re.DOTALL,
)
SHARD = re.compile(r"(.+)\.data-\d{5}-of-\d{5}")


def is_hdf5(path: Path) -> bool:
    """Whether a file is HDF5; its suffix does not matter."""
    with path.open("rb") as file:
        place = 0
        while place <= LAST_BLOCK:
            file.seek(place)
            if file.read(len(HDF5)) == HDF5:
                return True
            place = 2 * place or FIRST_BLOCK
    return False


def foreign_path(path: Path) -> str | None:
    """What a path that is no file stands for: a folder, or the common part of the names of a checkpoint; else None."""
    if path.is_dir():
        return _folder(path)
    if path.with_name(f"{path.name}.index").is_file():
        return f"{path} stands for the files {path.name}.index and {path.name}.data-…, {_checkpoint(path)}"
    return None


def foreign(path: Path) -> str | None:
    """A sentence that says what a file is which is neither HDF5 nor a zip; None if that is not known."""
    with path.open("rb") as file:
        head = file.read(HEAD)
        size = file.seek(0, 2)
        file.seek(max(0, size - 8))
        tail = file.read()
    if not size:
        return f"{path} is empty: download or save it again"
    what = _named(path) or _known(path, head, tail)
    return what and f"{path} is {what}"


def foreign_zip(path: Path, members: Iterable[str]) -> str | None:
    """A sentence that says what a zip is which Keras did not write; None if that is not known."""
    members = list(members)
    plain = [Path(name).name for name in members]
    inside = [name for name in members if re.search(r"\.(h5|hdf5|keras)$", name, re.IGNORECASE)]
    if "data.pkl" in plain or "constants.pkl" in plain:
        return f"{path} is {TORCH}"
    if inside:
        return f"{path} is an archive: unpack it, then load {', '.join(map(repr, inside))[:200]}"
    if "saved_model.pb" in plain:
        return f"{path} is an archive with a SavedModel of TensorFlow: unpack it; {SAVED_MODEL.format(folder='folder')}"
    if members and all(name.endswith(".npy") for name in members):
        return f"{path} is {dict(BEGINNINGS)[NUMPY]}"
    return None


def _folder(path: Path) -> str | None:
    names = {each.name for each in path.iterdir()}
    files = sorted(name for name in names if re.search(r"\.(h5|hdf5|keras|safetensors)$", name, re.IGNORECASE))
    if "saved_model.pb" in names or "saved_model.pbtxt" in names:
        return f"{path} is a SavedModel folder of TensorFlow: {SAVED_MODEL.format(folder=str(path))}"
    if {"config.json", "model.weights.h5"} <= names:
        return (
            f"{path} is an unpacked .keras archive: pack it again, `cd {path} && zip -0 ../m.keras config.json "
            "metadata.json model.weights.h5`"
        )
    if index := sorted(name.removesuffix(".index") for name in names if name.endswith(".index")):
        return f"{path} is a folder with {_checkpoint(path / index[0])}"
    return f"{path} is a folder; load a file in it: {', '.join(map(repr, files))[:200]}" if files else None


def _checkpoint(prefix: Path) -> str:
    return CHECKPOINT.format(prefix=str(prefix))


def _named(path: Path) -> str | None:
    """What a file is by its name, where its bytes do not say it."""
    if shard := SHARD.fullmatch(path.name):
        return "a part of " + _checkpoint(path.with_name(shard[1]))
    return None


def _known(path: Path, head: bytes, tail: bytes) -> str | None:
    for beginning, what in BEGINNINGS:
        if head.startswith(beginning):
            return what
    if head[4:8] == b"TFL3":
        return f"a TensorFlow Lite model, made to be run and not to be looked into: {KERAS}"
    if tail == TABLE:
        return "the index of " + _checkpoint(path.with_name(path.name.removesuffix(".index")))
    if head.startswith(b"model_checkpoint_path:"):
        return "the list of the checkpoints in this folder: " + _checkpoint(path.with_name("NAME"))
    if path.name == "saved_model.pb" or head.startswith(b"\x08\x01\x12"):
        return f"a part of a SavedModel folder of TensorFlow: {SAVED_MODEL.format(folder=str(path.parent))}"
    if path.suffix == ".pb":
        return f"a graph of TensorFlow without the layers of Keras: {KERAS}"
    if path.suffix == ".meta":
        return f"the graph of a TensorFlow checkpoint, without the layers of Keras: {KERAS}"
    if PICKLE.fullmatch(head) and tail.endswith(b"."):
        return f"a pickle of Python, which is code that reading it would run, and is never read here: {KERAS}"
    if PICTURE.match(head):
        return "a picture: jaxviz.read_image reads it; a network is read from a file of Keras"
    if PAGE.match(head):
        return (
            "a web page, not the file (an error page, a login page, or a page about the file): download the file itself"
        )
    return _text(path, head)


def _text(path: Path, head: bytes) -> str | None:
    """What a text is; None if the file is no text."""
    if b"\0" in head:
        return None
    try:
        text = head[: head.rfind(b"\n") + 1 if len(head) == HEAD else None].decode()
    except UnicodeDecodeError:
        return None
    if re.match(r"\s*\{", text):
        if '"modelTopology"' in text or '"weightsManifest"' in text:
            return (
                "a model of TensorFlow.js: `tensorflowjs_converter --input_format=tfjs_layers_model "
                "--output_format=keras model.json m.h5` writes a file that is read here"
            )
        if '"class_name"' in text and '"config"' in text:
            return ARCHITECTURE.format(path=str(path.with_suffix(".json")))
    if re.search(r"^class_name:", text, re.MULTILINE) and re.search(r"^config:", text, re.MULTILINE):
        return "the description of a network, without weights, as YAML: write what `model.to_json()` gives instead"
    json = path.suffix == ".json" and re.match(r"\s*[{\[]", text)
    if json or not text.strip() or path.suffix == ".onnx":  # what reads such a file says what is wrong with it
        return None
    return f"a text that begins with {' '.join(text.split())[:60]!r}, not a file of weights"
