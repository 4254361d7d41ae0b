"""Law: `Execution` changes how a network is computed, not what it computes, up to rounding.

Law: `Execution.platform` alone decides for which platform a program is written, whatever machine it is written on.
"""

import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

import jaxviz as jv
from jaxviz.compiling.batches import HEAVY, at_once, map_in_loop
from jaxviz.compiling.execution import Execution, platform_of
from jaxviz.compiling.jit import jit
from jaxviz.compiling.one_channel import narrow
from jaxviz.compiling.rewrite import rewrite


@pytest.mark.parametrize(
    "settings", [{"winograd": "3x3"}, {"precision": "most"}, {"dtype": "float16"}, {"platform": "metal"}]
)
def test_an_unknown_value_is_refused_and_the_known_ones_are_listed(settings):
    ((name, value),) = settings.items()
    with pytest.raises(jv.InputError, match=f"{name} is one of .*; given: {value!r}"):
        Execution(**settings)


@pytest.fixture(scope="module")
def images(photograph):
    return jv.read_image(photograph, size=64)[None] * np.linspace(0.3, 1, 8, dtype=np.float32)[:, None, None, None]


@pytest.mark.parametrize("settings", [{}, {"winograd": "2x2"}, {"winograd": None}])
def test_activations_do_not_depend_on_it(vgg, images, settings, relative):
    plain = vgg.replace(execution=Execution(rewrite=False))
    ours = vgg.replace(execution=Execution(**settings))
    theirs = jv.activations(plain, images, ["block2_conv2", "block4_conv3"])
    for name, values in jv.activations(ours, images, list(theirs)).items():
        assert relative(values, theirs[name]) < 1e-5


def test_in_bfloat16_the_network_alone_loses_digits(vgg, images, relative):
    half = vgg.replace(execution=Execution(dtype="bfloat16"))
    ours, theirs = (
        jv.grad_cam(m, images[:2], jv.Channel("block3_conv1", 3), layer="block2_conv2") for m in (half, vgg)
    )
    assert ours.values.dtype == ours.score.dtype == np.float32
    assert 1e-4 < relative(ours.score, theirs.score) < 3e-2
    assert relative(ours.values, theirs.values) < 0.1


def test_attributions_ask_for_float32_and_ascents_for_speed(vgg, images):
    def asked(model):
        return "HIGHEST" in str(jax.make_jaxpr(lambda image: model(image, ("block1_conv2",)))(images[0]))

    assert asked(vgg)
    assert not asked(vgg.replace(execution=Execution(precision="default")))


def test_import_starts_no_backend():
    code = "import jaxviz, jax._src.xla_bridge as bridge; assert not bridge.backends_are_initialized()"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_execution_is_a_static_value():
    assert len({Execution(), Execution(platform=None), Execution(platform="gpu"), Execution(platform="tpu")}) == 3


def test_the_platform_is_that_of_jax_unless_it_is_given():
    assert platform_of() == platform_of(Execution()) == jax.default_backend()
    assert platform_of(Execution(platform="tpu")) == "tpu"


def test_only_platform_of_asks_jax():
    files = [path for path in jv_files() if "default_backend" in path.read_text(encoding="utf-8")]
    assert [path.name for path in files] == ["execution.py"]


def jv_files():
    return sorted(Path(jv.__file__).parent.rglob("*.py"))


def loss(image):
    kernel = jnp.ones((4, 3, 3, 3)) / 27  # NCHW, which is slow on a CPU
    x = lax.conv(image.transpose(2, 0, 1)[None], kernel, (1, 1), "SAME")
    return nn.max_pool(x.transpose(0, 2, 3, 1), (2, 2), (2, 2))[..., jnp.array(1)].sum()


IMAGE = jnp.asarray(np.random.default_rng(0).random((16, 16, 3), np.float32))


def text(function, images=IMAGE):
    return str(jax.make_jaxpr(function)(images))


@pytest.mark.parametrize("images", [1, 8])
def test_a_program_for_a_tpu_keeps_its_max_pools_and_convolutions(images):
    gradient, several, tpu = jax.grad(loss), jnp.stack([IMAGE] * images), Execution(platform="tpu")
    assert text(rewrite(jax.vmap(gradient), tpu), several) == text(jax.vmap(gradient), several)
    assert "select_and_scatter_add" in text(lambda x: map_in_loop(gradient, x, size=1, execution=tpu), several)


def test_a_score_of_one_channel_computes_one_channel_on_every_platform():
    every = {text(narrow(loss, Execution(platform=name))) for name in ("cpu", "gpu", "tpu")}
    assert len(every) == 1
    assert every != {text(loss)}
    assert text(narrow(loss, Execution(rewrite=False))) == text(loss)


@pytest.mark.parametrize("images", [1, 8])
def test_a_program_for_a_gpu_has_masks_but_its_own_convolutions(images):
    several = jnp.stack([IMAGE] * images)
    gpu, cpu = (
        text(lambda x, on=name: map_in_loop(jax.grad(loss), x, size=1, execution=Execution(platform=on)), several)
        for name in ("gpu", "cpu")
    )
    assert "select_and_scatter_add" not in gpu + cpu
    assert "rhs_spec=(3, 2, 0, 1)" not in gpu  # the layout of a CPU
    assert "rhs_spec=(3, 2, 0, 1)" in cpu


def test_how_many_images_are_computed_at_once_depends_on_the_platform():
    assert [at_once(64, 64, execution=Execution(platform=name)) for name in ("cpu", "gpu", "tpu")] == [4, 32, 32]
    forward = [at_once(224, 224, gradient=False, execution=Execution(platform=name)) for name in ("cpu", "gpu", "tpu")]
    assert forward == [2, 32, 32]


def test_gradients_of_a_network_with_many_weights_are_computed_two_at_a_time_on_a_cpu():
    many, few = (jax.ShapeDtypeStruct((size,), np.float32) for size in (HEAVY // 4 + 1, HEAVY // 8))
    cpu, gpu = (Execution(platform=name) for name in ("cpu", "gpu"))
    assert [at_once(224, 224, execution=cpu, weights=each) for each in (many, few, (few, few, few), ())] == [2, 1, 2, 1]
    assert at_once(64, 64, execution=cpu, weights=many) == 8
    assert at_once(224, 224, execution=cpu, weights=many, gradient=False) == 2
    assert at_once(224, 224, execution=gpu, weights=many) == 32


@pytest.mark.parametrize("method", [jv.grad_cam, jv.gradient, jv.occlusion])
def test_methods_write_their_programs_for_the_platform_of_the_model(vgg, images, method, relative):
    """They run on this machine in any case, with the same values."""
    other = vgg.replace(execution=Execution(platform="gpu"))
    ours, theirs = (method(model, images[0], jv.Channel("block2_conv1", 3)) for model in (other, vgg))
    assert relative(ours.values, theirs.values) < 1e-4


@pytest.mark.parametrize(
    ("memory", "count"), [("2 GB", 2 * 10**9), ("1.5 GiB", 3 * 2**29), ("64 kB", 64000), (1e6, 10**6), (None, None)]
)
def test_memory_is_a_number_of_bytes_or_has_a_unit(memory, count):
    assert Execution(memory=memory).limit == count


@pytest.mark.parametrize("memory", ["2 gigabytes", "2GB", "", 0, -1, "0.2 kB kB", float("nan"), float("inf"), True])
def test_other_memory_is_refused(memory):
    with pytest.raises(jv.InputError, match='such as "2 GB"; given: '):
        Execution(memory=memory)


def test_without_a_limit_an_accelerator_gets_32_images_and_with_one_as_many_as_fit():
    assert at_once(64, 64, execution=Execution(platform="gpu", memory="1 GB")) > 10**9
    assert at_once(64, 64, execution=Execution(platform="cpu", memory="1 GB")) == 4


def test_a_program_for_another_platform_has_none_of_this_machines_compiler_options():
    """XLA would refuse them there, and a GPU's program has no custom calls of a CPU."""
    program = jit()(lambda images: jax.grad(loss)(images))
    text = program.lower("tpu", IMAGE).as_text()
    assert "select_and_scatter" in text
    assert program.compiled("tpu") is not program.compiled()
    assert program.compiled() is program.compiled("cpu")  # the tests run on a CPU
