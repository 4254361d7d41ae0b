"""The monitor of a training, and its writers.

Laws:
- A picture is the view of the model with the parameters of that step, and new parameters compile nothing.
- The training is left as it is: its module is not changed, its parameters may be donated at once, and its own error is
  the one that is raised.
- An error of a view or a writer is raised by a later call or at the end, never lost.
- A picture that was written can be read back, by TensorBoard itself or from the PNG file.
"""

import contextlib
import functools
import gc
import io
import os
import runpy
import subprocess
import sys
import threading
import time
import types
import warnings
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx
from flax.core import freeze
from PIL import Image

from jaxviz.ascent.recipes import chollet
from jaxviz.attribution.cams import grad_cam
from jaxviz.errors import InputError
from jaxviz.networks.keras import from_net
from jaxviz.networks.wrap import wrap
from jaxviz.objectives import Channel
from jaxviz.training.monitor import Monitor
from jaxviz.training.views import Activations, Filters, Map, Overlay
from jaxviz.training.writers import pictures, tensorboard

# A map may be blank before a network has learnt anything; what is drawn then is no matter of these tests.
pytestmark = pytest.mark.filterwarnings("ignore::jaxviz.BlankMap")

IMAGES = np.random.default_rng(0).random((4, 8, 8, 3), np.float32)
LABELS = np.array([0, 1, 2, 3])
PICTURE = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)


class Nnx(nnx.Module):
    """Everything that differs between training and evaluation, or changes outside the weights."""

    def __init__(self, rngs):
        self.conv = nnx.Conv(3, 8, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(8, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)
        self.dense = nnx.Linear(8, 4, rngs=rngs)

    def __call__(self, x):
        return self.dense(self.dropout(nnx.relu(self.norm(self.conv(x)))).mean((1, 2)))


class Linen(nn.Module):
    @nn.compact
    def __call__(self, x, train=False):
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(8, (3, 3), name="conv")(x)))
        return nn.Dense(4)(nn.Dropout(0.5, deterministic=not train)(x).mean((1, 2)))


def nnx_network():
    """A model, what a training loop hands to the monitor, and one step of that training, which returns it anew."""
    net = Nnx(nnx.Rngs(0))
    model = wrap(net, image_shape=(8, 8, 3))
    return model, net, nnx_step(net)


def keras_network(tmp_path):
    import keras

    import weights_convert

    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(8, 3, name="conv"), keras.layers.BatchNormalization(), keras.layers.ReLU()]
    layers += [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4, activation="softmax")]
    path = tmp_path / "network.h5"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Keras, about its own format
        keras.Sequential([keras.Input((8, 8, 3)), *layers]).save(path)
    net = weights_convert.load(path)
    return from_net(net), net, nnx_step(net)


def nnx_step(net):
    optimizer = nnx.Optimizer(net, optax.adam(0.1), wrt=nnx.Param)

    @nnx.jit
    def update(net, optimizer):
        def loss(net):
            return optax.softmax_cross_entropy_with_integer_labels(net(jnp.asarray(IMAGES)), LABELS).mean()

        optimizer.update(net, nnx.grad(loss)(net))

    def step(net):
        update(net, optimizer)
        return net

    return step


def linen_network():
    module = Linen()
    variables = module.init(jax.random.key(0), IMAGES[:1])

    @functools.partial(jax.jit, donate_argnums=0)
    def step(variables):
        def loss(params):
            logits, updates = module.apply(
                {**variables, "params": params},
                IMAGES,
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(1)},
            )
            return optax.softmax_cross_entropy_with_integer_labels(logits, LABELS).mean(), updates

        gradient, updates = jax.grad(loss, has_aux=True)(variables["params"])
        return {"params": jax.tree.map(lambda p, g: p - 0.1 * g, variables["params"], gradient), **updates}

    return wrap(module, variables, (8, 8, 3)), jax.tree.map(jnp.copy, variables), step


@pytest.fixture(params=["nnx", "linen", "keras"])
def network(request, tmp_path):
    return {"nnx": nnx_network, "linen": linen_network, "keras": lambda: keras_network(tmp_path)}[request.param]()


VIEWS = {
    "activations/conv": Activations(IMAGES[0], "conv"),
    "filters": Filters([Channel("conv", 0), Channel("conv", 5)], chollet(size=8, steps=2)),
    "grad_cam": Overlay(functools.partial(grad_cam, layer="conv"), IMAGES, [0, 1, 2, 3]),
    "map": Map(functools.partial(grad_cam, layer="conv"), IMAGES[0], 2),
}


class Kept(dict):
    """A writer that keeps (tag, step) → picture."""

    closed = 0

    def __call__(self, tag, step, picture):
        self[tag, step] = picture

    def close(self):
        self.closed += 1


def wait(monitor, model, kept, count):
    """Until there are so many pictures, by steps that have none, which raise what fails."""
    while len(kept) < count:
        monitor(1, model)
        time.sleep(0.01)


def same(model):
    return PICTURE


@contextlib.contextmanager
def compilations():
    """What JAX traces, lowers and compiles meanwhile, on any thread."""
    seen = []

    def listen(event, duration, **_):
        if event.startswith("/jax/core/compile"):
            seen.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seen
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)


def test_new_parameters_make_new_pictures_and_compile_nothing(network):
    model, params, step = network
    kept = Kept()
    with Monitor(kept, VIEWS, every=10) as monitor:
        with compilations() as seen:
            monitor(0, model, params)
            wait(monitor, model, kept, len(VIEWS))
        assert seen  # or it would not see any below
        first = {tag: view(model) for tag, view in VIEWS.items()}
        params = step(step(params))
        with compilations() as seen:
            monitor(10, model, params)
            wait(monitor, model, kept, 2 * len(VIEWS))
        assert seen == []
    assert kept.closed == 1
    assert list(kept) == [(tag, at) for at in (0, 10) for tag in VIEWS]
    params = nnx.state(params) if isinstance(params, nnx.Module) else params
    for tag, view in VIEWS.items():
        np.testing.assert_array_equal(kept[tag, 0], first[tag])
        np.testing.assert_array_equal(kept[tag, 10], view(model.replace(params=params)))
        assert (kept[tag, 0] != kept[tag, 10]).any()


def test_the_module_that_trains_is_left_as_it_is():
    model, net, step = nnx_network()
    step(net)
    graph, before = nnx.split(net)
    before = jax.tree.map(np.array, nnx.filter_state(before, nnx.Not(nnx.RngKey)))
    with Monitor(Kept(), VIEWS, every=1) as monitor:
        monitor(0, model, net)
    after_graph, after = nnx.split(net)
    assert after_graph == graph
    assert not net.dropout.deterministic
    assert not net.norm.use_running_average
    after = nnx.filter_state(after, nnx.Not(nnx.RngKey))
    jax.tree.map(np.testing.assert_array_equal, before, jax.tree.map(np.array, after))


def test_the_training_may_donate_its_parameters_while_the_pictures_wait():
    model, variables, step = linen_network()
    expected = VIEWS["activations/conv"](model)
    ready, kept = threading.Event(), Kept()

    def late(model):
        assert ready.wait(60)
        return VIEWS["activations/conv"](model)

    with Monitor(kept, {"late": late}, every=1) as monitor:
        monitor(0, model, variables)
        new = step(variables)
        assert jax.tree.leaves(variables)[0].is_deleted()
        jax.block_until_ready(new)
        ready.set()
    np.testing.assert_array_equal(kept["late", 0], expected)


def test_steps_in_between_write_nothing_and_do_not_touch_the_parameters():
    model, variables, _ = linen_network()
    kept = Kept()
    with Monitor(kept, {"same": same}, every=3) as monitor:
        for step in range(8):
            monitor(step, model, variables if step % 3 == 0 else "not looked at")
    assert list(kept) == [("same", 0), ("same", 3), ("same", 6)]


def test_the_parameters_of_the_model_itself_are_the_default():
    model, _, _ = linen_network()
    kept = Kept()
    with Monitor(kept, {"a": VIEWS["activations/conv"]}) as monitor:
        monitor(100, model)
    np.testing.assert_array_equal(kept["a", 100], VIEWS["activations/conv"](model))


def test_only_process_0_writes(monkeypatch, tmp_path):
    model, variables, _ = linen_network()
    monkeypatch.setattr(jax, "process_index", lambda: 1)
    for writer in (tensorboard(tmp_path / "log"), pictures(tmp_path / "png")):
        with Monitor(writer, {"same": same}, every=1) as monitor:
            monitor(0, model, variables)
    assert list(tmp_path.iterdir()) == []


def test_a_fast_training_waits_for_its_pictures():
    model, variables, _ = linen_network()
    kept, release = Kept(), threading.Event()

    def slow(model):
        release.wait(60)
        return PICTURE

    with Monitor(kept, {"slow": slow}, every=1) as monitor:
        monitor(0, model, variables)
        monitor(1, model, variables)
        assert not kept
        threading.Timer(0.2, release.set).start()
        monitor(2, model, variables)
        assert release.is_set()
    assert list(kept) == [("slow", 0), ("slow", 1), ("slow", 2)]


def failing(*_):
    raise OSError("no space left")


@pytest.mark.parametrize(("writer", "view"), [(failing, same), (lambda *_: None, failing)])
def test_a_failure_is_raised_by_the_next_call_or_at_the_end(writer, view):
    model, variables, _ = linen_network()
    with Monitor(writer, {"tag": view}, every=100) as monitor:
        monitor(0, model, variables)
        with pytest.raises(OSError, match="no space left") as failure:  # noqa: PT012
            for step in range(1, 100):
                monitor(step, model)
                time.sleep(0.1)
        assert failure.value.__notes__ == ["in the Monitor's view 'tag' at step 0"]
        monitor(100, model, variables)
        with pytest.raises(OSError, match="no space left"):
            monitor.close()


def test_the_error_of_the_training_is_the_one_that_is_raised():
    model, variables, _ = linen_network()
    with pytest.raises(KeyboardInterrupt) as stop, Monitor(failing, {"tag": same}) as monitor:  # noqa: PT012
        monitor(0, model, variables)
        raise KeyboardInterrupt
    assert "no space left" in stop.value.__notes__[0]


def test_a_monitor_that_nobody_closes_finishes_its_pictures():
    model, variables, _ = linen_network()
    kept = Kept()
    Monitor(kept, {"same": same})(0, model, variables)
    gc.collect()
    assert list(kept) == [("same", 0)]
    assert kept.closed == 1


def test_a_closed_monitor_says_so_and_closes_once():
    model, variables, _ = linen_network()
    kept = Kept()
    with Monitor(kept, {"same": same}) as monitor:
        pass
    monitor.close()
    assert kept.closed == 1
    with pytest.raises(InputError, match="closed"):
        monitor(0, model, variables)


def test_what_cannot_be_monitored_is_said():
    model, variables, _ = linen_network()
    with pytest.raises(InputError, match="every=0"):
        Monitor(Kept(), VIEWS, every=0)
    with pytest.raises(InputError, match="given: 0 views"):
        Monitor(Kept(), {})
    with Monitor(Kept(), {"grey": lambda model: PICTURE[..., 0]}) as monitor:
        with pytest.raises(InputError, match=r"missing: batch_stats/BatchNorm_0/mean.*not in the model: none"):
            monitor(0, model, {"params": variables["params"]})
        monitor(0, model, freeze(variables))
        with pytest.raises(InputError, match=r"uint8 \[h w 3\]; given: uint8 \[2, 3\]"):
            monitor.close()


def test_parameters_on_several_devices_are_brought_to_one():
    """In a process of its own: the number of devices is fixed when JAX starts."""
    code = """if True:
        import jax, numpy as np
        from jax.sharding import NamedSharding, PartitionSpec as P
        from jaxviz.wrap import wrap
        from jaxviz.monitor import Monitor
        def net(params, images): return images.mean((1, 2)) @ params["w"] + params["b"]
        params = {"w": np.ones((3, 4), np.float32), "b": np.ones(4, np.float32)}
        mesh = jax.make_mesh((2,), ("device",))
        spread = {"w": jax.device_put(params["w"], NamedSharding(mesh, P(None, "device"))),
                  "b": jax.device_put(params["b"], NamedSharding(mesh, P()))}
        def view(model):
            for name, leaf in model.params.items():
                assert leaf.devices() == {jax.devices()[0]}, name
                np.testing.assert_array_equal(leaf, params[name])
            return np.zeros((1, 1, 3), np.uint8)
        with Monitor(lambda *_: None, {"view": view}) as monitor:
            monitor(0, wrap(net, params, (8, 8, 3)), spread)
        print("fine")
    """
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, **flags}, capture_output=True, text=True)
    assert done.stdout == "fine\n", done.stderr


def test_png_files_hold_the_pictures(tmp_path):
    write = pictures(tmp_path)
    write("activations/conv1", 100, PICTURE)
    path = tmp_path / "activations" / "conv1" / "00000100.png"
    np.testing.assert_array_equal(np.asarray(Image.open(path)), PICTURE)
    for tag in ("../up", "/etc", "a//b", "", "a/.."):
        with pytest.raises(InputError, match="a tag must be names"):
            write(tag, 0, PICTURE)


def read_events(monkeypatch, logdir):
    """(tag, step) → picture, by TensorBoard's own reader without TensorFlow."""
    monkeypatch.setitem(sys.modules, "tensorboard.compat.notf", types.ModuleType("notf"))
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(logdir), size_guidance={"images": 0})
    events.Reload()
    found = {}
    for tag in events.Tags()["images"]:
        for event in events.Images(tag):
            found[tag, event.step] = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
            assert found[tag, event.step].shape == (event.height, event.width, 3)
    return found


def test_tensorboard_reads_the_pictures_back(monkeypatch, tmp_path):
    model, variables, _ = linen_network()
    kept = Kept()
    log = tensorboard(tmp_path)

    def both(*args):
        kept(*args)
        log(*args)

    both.close = log.close
    with Monitor(both, VIEWS, every=2) as monitor:
        for step in range(4):
            monitor(step, model, variables)
    found = read_events(monkeypatch, tmp_path)
    assert found.keys() == kept.keys()
    for where, picture in found.items():
        np.testing.assert_array_equal(picture, kept[where])


def test_two_logs_in_one_folder_share_no_file_and_each_picture_is_there_at_once(monkeypatch, tmp_path):
    logs = [tensorboard(tmp_path), tensorboard(tmp_path)]
    for step, log in enumerate(logs):
        log("tag", step, PICTURE)
    assert read_events(monkeypatch, tmp_path).keys() == {("tag", 0), ("tag", 1)}  # no log is closed yet
    for log in logs:
        log.close()
    assert len(list(tmp_path.iterdir())) == 2


def test_without_tensorboardx_it_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ImportError, match="pip install tensorboardX"):
        tensorboard(tmp_path)


EXAMPLE = Path(__file__).parents[2] / "examples" / "watch_training.py"


# Some filters of an untrained network are inactive, and `sweep` says so.
@pytest.mark.filterwarnings("ignore:.* objectives do not move:jaxviz.JaxvizWarning")
def test_the_example_writes_a_log_that_tensorboard_opens(monkeypatch, tmp_path, capsys):
    runpy.run_path(str(EXAMPLE))["main"](["--steps", "2", "--every", "2", "--logdir", str(tmp_path)])
    assert "step    2  loss" in capsys.readouterr().out
    found = read_events(monkeypatch, tmp_path)
    tags = ["activations/conv1", "activations/conv2", "activations/conv3", "filters/conv2", "grad_cam"]
    assert sorted(found) == [(tag, step) for tag in tags for step in (0, 2)]


def test_the_example_reads_the_binary_version_of_cifar_10(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 32, 32)).astype(np.uint8)
    for n, (label, image) in enumerate(zip((7, 2), pixels, strict=True)):
        (tmp_path / f"data_batch_{n + 1}.bin").write_bytes(bytes([label]) + image.tobytes())
    images, labels = runpy.run_path(str(EXAMPLE))["cifar"](tmp_path)
    assert labels.tolist() == [7, 2]
    np.testing.assert_array_equal(images[1, :, :, 0], pixels[1, 0].astype(np.float32) / 255)
