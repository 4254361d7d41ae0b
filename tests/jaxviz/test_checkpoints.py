"""The parameters of a module, from Orbax, msgpack and safetensors.

Law: a module with the parameters of a file computes what the module that was saved computes, bit for bit. A parameter
that one side lacks, or that has another shape, is listed, with all others. A damaged file, and one of another kind,
gets a sentence, and a pickle is never read.
"""

import functools
import pickle

import equinox as eqx
import flax.linen as nn
import haiku as hk
import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import optax
import pytest
from flax import nnx, serialization
from flax.training.train_state import TrainState
from networks import SHAPE, filled, image
from orbax import checkpoint
from safetensors.numpy import save_file

import jaxviz as jv


class Nnx(nnx.Module):
    def __init__(self, rngs: nnx.Rngs):
        self.layers = nnx.List([nnx.Conv(3, 4, (3, 3), rngs=rngs), nnx.Conv(4, 4, (1, 1), rngs=rngs)])
        self.norm = nnx.BatchNorm(4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x):
        return self.dropout(self.norm(self.layers[1](nnx.relu(self.layers[0](x))))).mean((1, 2))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train):
        x = nn.relu(nn.Conv(4, (3, 3), name="first")(x))
        x = nn.BatchNorm(use_running_average=not train, name="norm")(x)
        return nn.Dense(2, name="head")(x.mean((1, 2)))


@pytest.fixture(scope="module")
def module() -> Nnx:
    graph, random, state = nnx.split(Nnx(nnx.Rngs(3)), nnx.RngState, ...)
    return nnx.merge(graph, random, filled(state))


@pytest.fixture(scope="module")
def variables() -> dict:
    shapes = jax.eval_shape(lambda: Linen().init(jax.random.key(0), jnp.zeros((1, *SHAPE)), train=False))
    return filled(shapes)


def abstract() -> Nnx:
    return nnx.eval_shape(lambda: Nnx(nnx.Rngs(0)))


def save_orbax(path, tree):
    with checkpoint.StandardCheckpointer() as writer:
        writer.save(path, tree)


def save_steps(path, tree):
    with checkpoint.CheckpointManager(path) as manager:
        manager.save(7, args=checkpoint.args.StandardSave(tree))


def save_msgpack(path, tree):
    path.write_bytes(serialization.to_bytes(tree))


def save_safetensors(path, tree, separator="/"):
    flat = jax.tree_util.tree_flatten_with_path(tree)[0]
    names = {
        separator.join(str(getattr(key, "key", getattr(key, "idx", ""))) for key in keys): leaf for keys, leaf in flat
    }
    save_file({name: np.asarray(leaf) for name, leaf in names.items()}, path.with_suffix(".safetensors"))
    return path.with_suffix(".safetensors")


def with_points(path, tree):
    return save_safetensors(path, tree, ".")


WRITERS = [save_orbax, save_steps, save_msgpack, save_safetensors, with_points]


@pytest.mark.parametrize("save", WRITERS)
def test_a_module_computes_what_the_saved_one_computes(save, module, variables, tmp_path):
    expected = jv.predict(jv.wrap(module, image_shape=SHAPE), image())
    pure = nnx.to_pure_dict(nnx.state(module, nnx.Not(nnx.RngState)))
    path = tmp_path / "nnx"
    path = save(path, pure) or path
    for target in (abstract(), Nnx(nnx.Rngs(1))):
        before = jax.tree.leaves(nnx.state(target, nnx.Param))
        model = jv.wrap(target, path, SHAPE)
        np.testing.assert_array_equal(jv.predict(model, image()), expected)
        assert all(a is b for a, b in zip(before, jax.tree.leaves(nnx.state(target, nnx.Param)), strict=True))
        assert model.source == path.name
    expected = jv.predict(jv.wrap(Linen(), variables, SHAPE), image())
    path = tmp_path / "linen"
    path = save(path, variables) or path
    np.testing.assert_array_equal(jv.predict(jv.wrap(Linen(), str(path), SHAPE), image()), expected)


def test_a_function_gets_the_tree(tmp_path):
    tree = {"w": np.arange(3.0, dtype=np.float32), "deep": {"b": np.float32([1])}}
    for save in WRITERS:
        path = tmp_path / save.__name__
        path = save(path, tree) or path
        model = jv.wrap(lambda found, x: x.mean((1, 2)) * found["w"] + found["deep"]["b"], path, SHAPE)
        np.testing.assert_allclose(jv.predict(model, np.ones(SHAPE, np.float32)), [1, 2, 3], rtol=1e-6)


def test_what_a_training_leaves(module, variables, tmp_path):
    """A TrainState, with its optimiser; the parameters alone; nnx's own state, with boxes and random keys."""
    only = {"params": variables["params"]}

    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Dense(2, name="head")(nn.relu(nn.Conv(4, (3, 3), name="first")(x)).mean((1, 2)))

    only["params"] = {name: only["params"][name] for name in ("first", "head")}
    expected = jv.predict(jv.wrap(Plain(), only, SHAPE), image())
    state = TrainState.create(apply_fn=None, params=only["params"], tx=optax.adam(1e-3))
    save_msgpack(tmp_path / "state", state)
    save_msgpack(tmp_path / "params", only["params"])
    save_msgpack(tmp_path / "model", {"model": only})
    for name in ("state", "params", "model"):
        np.testing.assert_array_equal(jv.predict(jv.wrap(Plain(), tmp_path / name, SHAPE), image()), expected)
    save_orbax(tmp_path / "nnx", nnx.state(module))
    expected = jv.predict(jv.wrap(module, image_shape=SHAPE), image())
    np.testing.assert_array_equal(jv.predict(jv.wrap(abstract(), tmp_path / "nnx", SHAPE), image()), expected)


def test_what_is_written_is_read(module, variables, tmp_path):
    for each, held, path in [
        (module, None, tmp_path / "a.safetensors"),
        (Linen(), variables, tmp_path / "b.safetensors"),
    ]:
        model = jv.wrap(each, held, SHAPE)
        jv.write_parameters(model, path)
        again = jv.wrap(each if held else abstract(), path, SHAPE)
        np.testing.assert_array_equal(jv.predict(again, image()), jv.predict(model, image()))
    with pytest.raises(jv.InputError, match=r"parameters are a tree of arrays with names; given: tuple"):
        jv.write_parameters(jv.wrap(lambda _, x: x.mean((1, 2)), (), SHAPE), tmp_path / "c.safetensors")


def test_haiku(tmp_path):
    """Its names are paths themselves. A function with state has a pair of variables."""

    def network(x, is_training=True):
        return hk.nets.MLP([3, 2])(hk.BatchNorm(True, True, 0.9)(x, is_training).mean((1, 2)))

    plain = hk.transform(lambda x: hk.nets.MLP([3, 2])(x.mean((1, 2))))
    for function, bound in ((plain, {}), (hk.transform_with_state(network), {"is_training": False})):
        variables = filled(jax.eval_shape(function.init, jax.random.key(0), jnp.zeros((1, *SHAPE))))
        named = dict(zip(("params", "state"), variables, strict=True)) if bound else variables
        wrap = functools.partial(jv.wrap, image_shape=SHAPE, **bound)
        model = wrap(function, variables)
        folder = tmp_path / str(len(bound))
        folder.mkdir()
        jv.write_parameters(model, folder / "haiku.safetensors")
        save_msgpack(folder / "haiku.msgpack", named)
        save_orbax(folder / "haiku", named)
        for path in list(folder.iterdir()):
            again = wrap(function, path)
            assert again.layers == model.layers
            np.testing.assert_array_equal(jv.predict(again, image()), jv.predict(model, image()))
        save_msgpack(folder / "less", {"mlp/~/linear_0": {"w": np.zeros((3, 2), np.float32)}})
        with pytest.raises(jv.InputError, match=r"(?s)- .*mlp/~/linear_0/b \(3,\).*\+ .*mlp/~/linear_0/w \(3, 2\)"):
            wrap(function, folder / "less")


class Linear(eqx.Module):
    layers: list

    def __init__(self, units: int = 4):
        keys = jax.random.split(jax.random.key(0))
        self.layers = [eqx.nn.Linear(3, units, key=keys[0]), jnp.tanh, eqx.nn.Linear(units, 2, key=keys[1])]

    def __call__(self, x):
        for layer in self.layers:
            x = layer(x)
        return x


def test_equinox(tmp_path):
    """Its own files have no names; all others have those of the module's parameters."""
    arrays, rest = eqx.partition(Linear(), eqx.is_array)
    module, x = eqx.combine(filled(arrays), rest), np.float32([1, 0.5, 0.2])
    model = jv.wrap(module, image_shape=(3,))
    jv.write_parameters(model, tmp_path / "a.safetensors")
    tree = {"layers": {str(i): {name: getattr(module.layers[i], name) for name in ("weight", "bias")} for i in (0, 2)}}
    for save in WRITERS:
        save(tmp_path / save.__name__, tree)
    eqx.tree_serialise_leaves(tmp_path / "a.eqx", module)
    with (tmp_path / "a").open("wb") as file:
        eqx.tree_serialise_leaves(file, module)
    paths = list(tmp_path.iterdir())
    assert len(paths) == 8
    for path in paths:
        for target in (Linear(), eqx.filter_eval_shape(Linear)):
            again = jv.wrap(target, path, (3,))
            np.testing.assert_array_equal(jv.predict(again, x), jv.predict(model, x))
    for path in paths:
        with pytest.raises(jv.InputError, match=r"does not fit Linear"):
            jv.wrap(Linear(5), path, (3,))
    with (tmp_path / "longer").open("wb") as file:
        eqx.tree_serialise_leaves(file, (module, module))
    with pytest.raises(jv.InputError, match=r"longer does not fit Linear: it has more arrays than the module"):
        jv.wrap(Linear(), tmp_path / "longer", (3,))
    norm, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, "batch", mode="batch")
    with pytest.raises(jv.InputError, match=r"has no names: save both by Equinox"):
        jv.write_parameters(jv.wrap(norm, state, (3,)), tmp_path / "b.safetensors")
    with pytest.raises(jv.InputError, match=r"restored together with it: .*; given: the path"):
        jv.wrap(norm, tmp_path / "a.eqx", (3,))


def test_parts_of_one_network_and_half_precision(variables, tmp_path):
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16), variables)
    rounded = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), half)
    save_safetensors(tmp_path / "one", {"params": half["params"]})
    save_safetensors(tmp_path / "two", {"batch_stats": half["batch_stats"]})
    model = jv.wrap(Linen(), tmp_path, SHAPE)
    np.testing.assert_array_equal(jv.predict(model, image()), jv.predict(jv.wrap(Linen(), rounded, SHAPE), image()))
    save_safetensors(tmp_path / "three", {"params": half["params"]})
    with pytest.raises(
        jv.InputError, match=r"parts of one network; .*two.safetensors repeats|repeats params/first/bias"
    ):
        jv.wrap(Linen(), tmp_path, SHAPE)


def test_both_sides_of_a_difference_are_listed(variables, tmp_path):
    other = jax.tree.map(lambda leaf: leaf, variables)
    other["params"]["first"]["kernel"] = jnp.zeros((5, 5, 3, 4))
    other["params"]["stem"] = other["params"].pop("norm")
    save_msgpack(tmp_path / "other", other)
    with pytest.raises(jv.InputError) as caught:
        jv.wrap(Linen(), tmp_path / "other", SHAPE)
    head, *lines = str(caught.value).splitlines()
    assert head == f"{tmp_path / 'other'} does not fit Linen (- what the module needs, + what the file has):"
    assert lines == [
        "- params/first/kernel (3, 3, 3, 4)",
        "- params/norm/bias (4,)",
        "- params/norm/scale (4,)",
        "+ params/first/kernel (5, 5, 3, 4)",
        "+ params/stem/bias (4,)",
        "+ params/stem/scale (4,)",
    ]
    save_safetensors(tmp_path / "torch", {"layers.0.weight": np.zeros((4, 3, 3, 3), np.float32)})
    with pytest.raises(jv.InputError, match=r"\+ layers/0/weight \(4, 3, 3, 3\)\nThese may be the names of PyTorch"):
        jv.wrap(abstract(), tmp_path / "torch.safetensors", SHAPE)


class Run:
    """A pickle of it would write a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


# Orbax reads many files at once, and closes its loop at the first that is missing.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_what_is_no_file_of_parameters(variables, tmp_path):
    good = serialization.to_bytes(variables)
    save_steps(tmp_path / "steps", variables)
    with checkpoint.CheckpointManager(tmp_path / "steps") as manager:
        manager.save(12, args=checkpoint.args.StandardSave(variables))
    (tmp_path / "empty").mkdir()
    save_orbax(tmp_path / "torn", variables)
    for each in (tmp_path / "torn").rglob("*"):
        if each.is_file() and each.name != "_METADATA":
            each.unlink()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "saved_model.pb").touch()
    contents = {
        "pickle": (pickle.dumps(Run(tmp_path / "ran")), "a pickle of Python, .* is never read here"),
        "cut": (good[: len(good) // 2], "is damaged, or no file of Orbax, safetensors or msgpack"),
        "longer": (good + b"\0", "is damaged"),
        "nothing": (b"", "is empty"),
        "object": (msgpack.packb(msgpack.ExtType(1, msgpack.packb(((1,), "object", bytes(8))))), "is damaged"),
        "deep": (b"\x91" * 100_000, "is damaged"),
        "huge": (b"\xdf\xff\xff\xff\xff", "is damaged"),
        "text": (b"hello", "a text that begins with 'hello'"),
        "cut.safetensors": (b'\x10\0\0\0\0\0\0\0{"a"', "is damaged"),
        "long.safetensors": (b"\xff" * 64, "is damaged"),
        "torch": (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19", "a file of PyTorch"),
        "keras.h5": (b"\x89HDF\r\n\x1a\n" + bytes(100), r"jv.load\(path\) reads the network"),
    }
    for name, (content, message) in contents.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(jv.InputError, match=message):
            jv.wrap(Linen(), tmp_path / name, SHAPE)
    for name, message in {
        "steps": r"holds several checkpoints, 7, 12: name one of them, such as .*12",
        "empty": "is no folder of Orbax",
        "torn": "is damaged",
        "folder": "SavedModel folder of TensorFlow",
    }.items():
        with pytest.raises(jv.InputError, match=message):
            jv.wrap(Linen(), tmp_path / name, SHAPE)
    with pytest.raises(FileNotFoundError, match="there is no file or folder"):
        jv.wrap(Linen(), tmp_path / "missing", SHAPE)
    assert not (tmp_path / "ran").exists()
