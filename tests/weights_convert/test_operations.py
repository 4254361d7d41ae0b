"""Operations outside of layers: arithmetic, reductions, reshapes, functions of TensorFlow and of `keras.ops`.

Laws: an operation that Keras 2 or 3 saved computes the same here as there, also after it was saved for Keras again; it
is not confused with a layer of the same name; none mixes the images of a batch; any other is refused by name.
"""

import json
import re
from importlib import import_module

import jax
import keras
import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from flax import nnx
from keras import ops
from keras_oracle import TOLERANCE, error
from tf_keras import backend

import jaxviz as jv
import weights_convert
from weights_convert import KerasNet, UnsupportedLayer
from weights_convert.config.describe import describe
from weights_convert.config.parsing import parse
from weights_convert.layers import KINDS, TENSORFLOW

SHAPE = (4, 6, 8)
CHANNELS = np.linspace(-1, 2, 8, dtype=np.float32)
MATRIX = np.linspace(-1, 1, 24, dtype=np.float32).reshape(8, 3)
BOX = np.linspace(-1, 1, 24, dtype=np.float32).reshape(4, 6, 1)

# Each case is written as its user writes it; the name of the case is its text.
EITHER = """
x + 3.0; 1 + x; x - 2.5; 1 - x; x * 2 * (1 / 6); 2 * x; x / 127.5; 1 / x; x // 2; x % 2; x**2; 2.0**x; -x; abs(x - 1)
x + x; x - x / 3; x * x; x / (x + 1); x * CHANNELS + CHANNELS; x + BOX; x * CHANNELS.reshape(1, 1, 1, 8); x[..., ::-1]
x[..., 1]; x[:, 1:-1, ::2]; x[:, 0]; x[..., None]; x[:, None]; x @ MATRIX; x > 1; x >= 1; x < 1; x <= 1
preprocess(x[..., :3], "tf"); preprocess(x[..., :3], "torch"); preprocess(x[..., :3], "caffe")
"""
KERAS_3 = """
ops.cast(x, "float32"); ops.cast(x * 3, "int32"); ops.cast(x > 1, "float32"); ops.cast(x, "bool")
ops.stop_gradient(x); ops.zeros_like(x); ops.ones_like(x); ops.full_like(x, 2.0); ops.convert_to_tensor(x) + 0
ops.mean(x, (1, 2)); ops.mean(x, -1, keepdims=True); ops.average(x, axis=1); ops.sum(x, [1, 2]); ops.max(x, 1)
ops.amax(x, 1); ops.min(x, (1, -1)); ops.amin(x, 2); ops.prod(x, 3); ops.var(x, 1); ops.std(x, (1, 2), keepdims=True)
ops.logsumexp(x, -1); ops.any(x > 1, 1); ops.all(x > 1, 1); ops.norm(x, axis=-1); ops.argmax(x, -1); ops.cumsum(x, 1)
ops.moments(x, (1, 2))[1]; ops.moments(x, (1, 2), keepdims=True)[0]; ops.concatenate([x, -x], -1)
ops.concatenate([x, x, x], 1); ops.stack([x, -x], 1); ops.stack([x[..., 2], x[..., 0]], -1); ops.split(x, 2, -1)[1]
ops.split(x, [2, 5], -1)[2]; ops.unstack(x, axis=1)[2]; ops.take(x, [0, 2], axis=-1); ops.reshape(x, (-1, 24, 8))
ops.reshape(x, (-1, 4, 48)); ops.expand_dims(x, 1); ops.expand_dims(x, -1); ops.squeeze(x[:, :1], 1)
ops.squeeze(ops.mean(x, (1, 2), keepdims=True)); ops.transpose(x, (0, 2, 1, 3)); ops.swapaxes(x, 1, 2)
ops.moveaxis(x, 1, -1); ops.flip(x, 1); ops.flip(x, (1, 2)); ops.roll(x, 1, 1); ops.roll(x, (1, 2), (1, 2))
ops.tile(x, (1, 2, 1, 1)); ops.repeat(x, 2, axis=1); ops.repeat(x, [1, 2, 1, 1], axis=1)
ops.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0))); ops.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)), mode="reflect")
ops.pad(x, ((0, 0), (1, 1), (2, 0), (0, 0)), constant_values=2.0); ops.depth_to_space(x, 2); ops.space_to_depth(x, 2)
ops.matmul(x, ops.swapaxes(x, -1, -2)); ops.matmul(MATRIX.reshape(4, 6), x); ops.tensordot(x, MATRIX, 1)
ops.tensordot(x, np.ones((8, 6, 3), "f"), [[3, 2], [0, 1]]); ops.einsum("bijc,bikc->bijk", x, x)
ops.einsum("bijc->bcij", x); ops.einsum("...ij,...kj->...ik", x, x); ops.einsum("bijc,cd->bijd", x, MATRIX)
ops.power(x, x); ops.sqrt(x); ops.square(x); ops.rsqrt(x); ops.reciprocal(x); ops.exp(x); ops.exp2(x); ops.expm1(x)
ops.log(x); ops.log1p(x); ops.log2(x); ops.log10(x); ops.sin(x); ops.cos(x); ops.tan(x); ops.arctan(x); ops.sinh(x)
ops.cosh(x); ops.erf(x); ops.sign(x - 1); ops.round(x); ops.floor(x); ops.ceil(x); ops.clip(x, 0.5, 1)
ops.absolute(x); ops.negative(x); ops.maximum(x, 1); ops.minimum(x, x * 0.5); ops.arctan2(x, x + 1)
ops.norm(x, ord=2, axis=1); ops.norm(x, ord="fro", axis=(1, 2)); x[0:, 1]
ops.logaddexp(x, x); ops.divide(x, 3); ops.divide_no_nan(x, x - x); ops.floor_divide(x, 2); ops.mod(x, 2)
ops.equal(x, x); ops.not_equal(x, x); ops.logical_and(x > 0.5, x < 1); ops.logical_or(x > 1.5, x < 1)
ops.logical_xor(x > 0.5, x > 1); ops.logical_not(x > 1); ops.where(x > 1, x, 0.0); ops.where(x > 1, x, -x)
ops.normalize(x); ops.normalize(x, axis=1); ops.max_pool(x, 2); ops.max_pool(x, 3, 2, "same")
ops.average_pool(x, 2, padding="same"); ops.image.resize(x, (8, 12)); ops.image.rgb_to_grayscale(x[..., :3])
ops.image.resize(x, (8, 12), interpolation="nearest"); ops.image.resize(x, (2, 3), antialias=True); ops.relu(x - 1)
ops.relu6(x * 5); ops.selu(x - 1); ops.silu(x); ops.sigmoid(x); ops.tanh(x); ops.softplus(x); ops.softsign(x)
ops.log_sigmoid(x); ops.hard_sigmoid(x); ops.hard_silu(x); ops.hard_tanh(x); ops.tanh_shrink(x); ops.sparse_plus(x)
ops.sparse_sigmoid(x); ops.leaky_relu(x - 1); ops.leaky_relu(x - 1, negative_slope=0.3); ops.elu(x - 1)
ops.elu(x - 1, alpha=0.5); ops.celu(x - 1); ops.gelu(x); ops.gelu(x, approximate=False); ops.squareplus(x)
ops.hard_shrink(x); ops.soft_shrink(x); ops.threshold(x, 0.5, 0.1); ops.glu(x); ops.glu(x, axis=1); ops.softmax(x)
ops.softmax(x, axis=1); ops.log_softmax(x); ops.log_softmax(x, axis=2); ops.sparsemax(x); keras.activations.gelu(x)
keras.activations.relu(x - 1, max_value=0.5); keras.activations.relu(x, threshold=0.5)
keras.activations.relu(x - 1, negative_slope=0.1); keras.activations.softmax(x); keras.layers.Add()([x, x])
keras.layers.ReLU(negative_slope=0.1)(x - 1); keras.layers.Softmax()(x); keras.layers.Concatenate()([x, x])
"""
KERAS_2 = """
tf.cast(x, "float32"); tf.cast(x * 3, tf.int32); tf.cast(x > 1, tf.float32); tf.identity(x); tf.stop_gradient(x)
tf.convert_to_tensor(x); tf.zeros_like(x); tf.ones_like(x); tf.reduce_mean(x, [1, 2])
tf.reduce_mean(x, axis=-1, keepdims=True); tf.reduce_max(x, axis=(1, 2)); tf.reduce_min(x, -1); tf.reduce_sum(x, 1)
tf.reduce_prod(x, 1); tf.math.reduce_variance(x, 1); tf.math.reduce_std(x, 1); tf.norm(x, axis=-1)
tf.math.reduce_logsumexp(x, 1); tf.math.reduce_euclidean_norm(x, 1); tf.math.argmax(x, -1); tf.math.cumsum(x, 1)
tf.reduce_any(x > 1, 1); tf.reduce_all(x > 1, 1); tf.nn.moments(x, [1, 2])[0]; tf.nn.moments(x, [1, 2])[1]
tf.concat([x, -x], -1); tf.stack([x, -x], 1); tf.unstack(x, axis=1)[1]; tf.split(x, 2, axis=-1)[1]
tf.split(x, [2, 6], -1)[1]; tf.split(x, [2, -1], -1)[1]; tf.gather(x, [0, 2], axis=-1)
tf.slice(x, [0, 0, 0, 2], [-1, -1, -1, 3]); tf.split(x, [2, -1, 3], -1)[1]; tf.split(x, [-1, 3, 1], -1)[1]
tf.norm(x, axis=[1, 2])
tf.strided_slice(x, [0, 1, 0, 0], [0, 3, 6, 8], [1, 2, 1, 1], begin_mask=1, end_mask=1); x[:, tf.newaxis]
tf.image.crop_to_bounding_box(x, 1, 1, 2, 2); tf.image.flip_left_right(x); tf.image.flip_up_down(x)
tf.reshape(x, (-1, 24, 8)); tf.expand_dims(x, 1); tf.squeeze(x[:, :1], 1); tf.squeeze(x[:, :1]); tf.reverse(x, [1])
tf.transpose(x, [0, 2, 1, 3]); tf.linalg.matrix_transpose(x); tf.roll(x, 1, 1); tf.tile(x, [1, 2, 1, 1])
tf.repeat(x, 2, axis=1); tf.nn.depth_to_space(x, 2); tf.nn.space_to_depth(x, 2)
tf.pad(x, [[0, 0], [1, 1], [2, 0], [0, 0]]); tf.pad(x, [[0, 0], [1, 1], [2, 0], [0, 0]], "REFLECT")
tf.pad(x, [[0, 0], [1, 1], [2, 0], [0, 0]], constant_values=2.0); tf.matmul(x, x, transpose_b=True)
tf.matmul(x, x, transpose_a=True); tf.matmul(x, MATRIX.T, transpose_b=True); tf.tensordot(x, MATRIX, 1); tf.pow(x, 3)
tf.sqrt(x); tf.square(x); tf.abs(x); tf.exp(x); tf.math.log(x); tf.math.log1p(x); tf.math.expm1(x); tf.math.rsqrt(x)
tf.math.reciprocal(x); tf.math.sign(x - 1); tf.round(x); tf.floor(x); tf.math.ceil(x); tf.sin(x); tf.cos(x); tf.tan(x)
tf.sinh(x); tf.cosh(x); tf.math.atan(x); tf.math.atan2(x, x + 1); tf.math.erf(x); tf.negative(x); tf.maximum(x, 1.0)
tf.minimum(x, 0.5 * x); tf.clip_by_value(x, 0.5, 1.0); tf.math.squared_difference(x, 2 * x)
tf.math.divide_no_nan(x, x - x); tf.add_n([x, x, x]); tf.math.add(x, x); tf.divide(x, 3); tf.scalar_mul(2.0, x)
tf.realdiv(x, x); tf.nn.bias_add(x, CHANNELS); tf.equal(x, 0); tf.not_equal(x, 0.0); (x > 0.5) & (x < 1)
(x > 1.5) | (x < 1); tf.math.logical_xor(x > 0.5, x > 1); ~(x > 1); tf.where(x > 1, x, 0.0); tf.where(x > 1, x, -x)
tf.math.l2_normalize(x, -1); tf.nn.l2_normalize(x, axis=[1, 2]); tf.image.resize(x, (8, 12))
tf.image.resize(x, (8, 12), method="nearest"); tf.image.resize(x, [3, 2], antialias=True)
tf.image.rgb_to_grayscale(x[..., :3]); tf.image.per_image_standardization(x); tf.nn.max_pool2d(x, 2, 2, "VALID")
tf.nn.max_pool(x, 2, 2, "VALID"); tf.nn.avg_pool2d(x, 2, 2, "SAME"); tf.nn.avg_pool(x, 2, 2, "VALID"); tf.sigmoid(x)
tf.tanh(x); tf.nn.relu(x - 1); tf.nn.relu6(x * 5); tf.nn.elu(x - 1); tf.nn.selu(x - 1); tf.nn.silu(x); tf.nn.gelu(x)
tf.nn.gelu(x, approximate=True); tf.nn.leaky_relu(x - 1); tf.nn.leaky_relu(x - 1, 0.1); tf.nn.softplus(x)
tf.nn.softsign(x); tf.math.log_sigmoid(x); tf.nn.softmax(x); tf.nn.softmax(x, axis=1); tf.nn.log_softmax(x)
tf_keras.activations.gelu(x); tf_keras.activations.relu(x, max_value=1.0); tf_keras.activations.relu(x - 1, alpha=0.1)
tf_keras.activations.hard_sigmoid(x); tf_keras.activations.mish(x); tf_keras.activations.elu(x - 1, alpha=0.3)
backend.batch_dot(x[:, :, 0], x[:, :, 0], axes=[2, 2]); backend.repeat_elements(x, 2, 1)
backend.permute_dimensions(x, (0, 2, 1, 3)); backend.resize_images(x, 2, 2, "channels_last")
backend.resize_images(x, 2, 2, "channels_last", interpolation="bilinear"); tf_keras.layers.Add()([x, x])
tf_keras.layers.Subtract()([x, 2 * x]); tf_keras.layers.Softmax()(x)
"""
# Of Keras 2 alone: a file for Keras 3 cannot hold them.
NOT_IN_KERAS_3 = r"squared_difference|moments\(x, \[1, 2\]\)\[1\]|per_image|\[2, -1, 3\]|\[-1, 3, 1\]"


def cases(text):
    return [case.strip() for line in text.splitlines() for case in line.split(";") if case.strip()]


def tensor(case, package, x):
    """The tensor that a case describes."""
    imagenet = import_module(f"{package.__name__}.src.applications.imagenet_utils")

    def preprocess(x, mode):
        return imagenet.preprocess_input(x, data_format="channels_last", mode=mode)

    names = {"keras": keras, "ops": ops, "tf_keras": tf_keras, "tf": tf, "backend": backend, "np": np}
    names |= {"CHANNELS": CHANNELS, "MATRIX": MATRIX, "BOX": BOX}
    return eval(case, names | {"x": x, "preprocess": preprocess})


def images(n=3):
    return np.random.default_rng(0).uniform(0.05, 2, (n, *SHAPE)).astype(np.float32)


def assert_equal(found, wanted):
    wanted = {case: np.asarray(each, np.float64) for case, each in wanted.items()}
    errors = {case: error(f, wanted[case]) for case, f in zip(wanted, found, strict=True)}
    assert not {case: each for case, each in errors.items() if not each <= TOLERANCE}


@pytest.mark.filterwarnings("ignore:NotImplemented should not be used")  # by Keras' tensordot
@pytest.mark.parametrize(
    ("package", "text", "end"), [(keras, EITHER + KERAS_3, ".keras"), (tf_keras, EITHER + KERAS_2, ".h5")]
)
def test_against_keras(package, text, end, tmp_path):
    """All operations are outputs of one network, saved, loaded, saved for Keras 3 and loaded there."""
    x, outputs = package.Input(SHAPE), {}
    for case in cases(text):
        outputs[case] = tensor(case, package, x)
    model = package.Model(x, [*outputs.values()])
    model.save(tmp_path / f"m{end}")
    net = weights_convert.load(tmp_path / f"m{end}")
    wanted = dict(zip(outputs, model(images()), strict=True))
    graphdef, weights = nnx.split(net)
    quick = {"xla_backend_optimization_level": 0}  # to compile hundreds of operations takes most of the time
    run = jax.jit(lambda weights, x: nnx.merge(graphdef, weights)(x), compiler_options=quick)
    assert_equal(run(weights, images()), wanted)
    assert parse(json.loads(json.dumps(describe(net.graph)))) == net.graph

    held = [case for case in outputs if not re.search(NOT_IN_KERAS_3, case)]
    config = json.loads(package.Model(x, [outputs[case] for case in held]).to_json())
    weights_convert.save(KerasNet(parse(config), rngs=nnx.Rngs(0)), tmp_path / "again.keras")
    again = keras.models.load_model(tmp_path / "again.keras", compile=False)
    assert_equal(again(images()), {case: wanted[case] for case in held})


@pytest.mark.filterwarnings("ignore:NotImplemented should not be used")
def test_every_row_has_a_case():
    """Every operation occurs above in the spelling of Keras 3, and every function of TensorFlow that is listed."""
    x = keras.Input(SHAPE)
    found = parse(json.loads(keras.Model(x, [tensor(case, keras, x) for case in cases(EITHER + KERAS_3)]).to_json()))
    listed = {name for name, kind in KINDS.items() if name.startswith("ops.") and kind.package}
    untold = {"ops.ConvertToTensor", "ops.TrueDivide", "ops.Mish"}  # Keras writes these in other ways
    assert listed - untold <= {node.kind for node in found.nodes}

    x = tf_keras.Input(SHAPE)
    model = tf_keras.Model(x, [tensor(case, tf_keras, x) for case in cases(EITHER + KERAS_2)])
    written = {layer.get_config().get("function") for layer in model.layers}
    other_names = re.compile(
        r"compat\.v1|nn\.(max|avg)_pool|nn\.(sigmoid|tanh|softplus)|math\.(divide|floordiv)$|norm$"
    )
    assert {name for name in TENSORFLOW if not other_names.search(name)} - written <= {
        *("pad", "transpose", "squeeze", "gather", "math.scalar_mul", "concat")
    }


@pytest.mark.parametrize(
    ("package", "end"), [(keras, ".keras"), (keras, ".h5"), (tf_keras, ".keras"), (tf_keras, ".h5")]
)
def test_attention_blocks(package, end, tmp_path):
    """Squeeze-and-excitation (SE), CBAM and ECA, with their pooling and gates written as operations."""
    layers = package.layers
    mean, largest, join = (
        (ops.mean, ops.max, ops.concatenate) if package is keras else (tf.reduce_mean, tf.reduce_max, tf.concat)
    )
    sigmoid, reshape = (ops.sigmoid, ops.reshape) if package is keras else (tf.sigmoid, tf.reshape)
    image = package.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, activation="relu", name="conv")(image)
    gate = layers.Dense(8)(layers.Dense(2, activation="relu")(mean(x, (1, 2))))
    x = x * reshape(sigmoid(gate), (-1, 1, 1, 8))
    maps = join([mean(x, -1, keepdims=True), largest(x, -1, keepdims=True)], -1)
    x = x * layers.Conv2D(1, 7, padding="same", activation="sigmoid")(maps)
    weights = layers.Conv1D(1, 3, padding="same", use_bias=False)(reshape(mean(x, (1, 2)), (-1, 8, 1)))
    x = x * reshape(sigmoid(weights), (-1, 1, 1, 8))
    model = package.Model(image, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(x)))
    model.save(tmp_path / f"m{end}")
    loaded, image = jv.load(tmp_path / f"m{end}"), np.random.default_rng(0).random((16, 16, 3), np.float32)
    assert error(jv.predict(loaded, image), model(image[None])[0]) <= TOLERANCE
    if end == ".h5":
        wanted = keras_cam(package, model, image)
        found = jv.grad_cam(loaded, image, layer="conv").values
        assert error(found, tf.image.resize(wanted[..., None], (16, 16))[..., 0]) <= 1e-4


def keras_cam(package, model, image):
    """Grad-CAM of the best class at the layer `conv`, from its logit."""
    head = model.layers[-1]
    both = package.Model(model.inputs[0], [model.get_layer("conv").output, head.input])
    with tf.GradientTape() as tape:
        activation, features = both(image[None])
        logits = features @ head.kernel + head.bias
        score = tf.reduce_max(logits)
    gradient = tape.gradient(score, activation)
    return tf.nn.relu(tf.reduce_sum(activation * tf.reduce_mean(gradient, (1, 2), keepdims=True), -1)[0])


BATCH = {
    keras: """
    ops.mean(x); ops.max(x, 0); ops.sum(x, (0, 1)); ops.concatenate([x, x], 0); ops.stack([x, x], 0); x[0]
    ops.reshape(x, (-1,)); ops.reshape(x, (-1, 8)); ops.reshape(x, (1, -1)); ops.transpose(x); ops.swapaxes(x, 0, 1)
    ops.moveaxis(x, 0, 1); ops.expand_dims(x, 0); ops.flip(x, 0); ops.flip(x); ops.roll(x, 1, 0); ops.roll(x, 1)
    ops.tile(x, (2, 1, 1, 1)); ops.repeat(x, 2, axis=0); ops.take(x, [0], axis=0); ops.cumsum(x, 0)
    ops.softmax(x, axis=0); ops.matmul(ops.mean(x, (1, 2)), ops.swapaxes(ops.mean(x, (1, 2)), 0, 1))
    ops.einsum("bijc,bijc->ij", x, x); ops.matmul(np.ones((2, 2), "f"), ops.mean(x, (1, 2)))
    ops.einsum("aijc,bijc->ab", x, x); ops.pad(x, ((1, 0),) * 4); x + np.ones((2, 4, 6, 8), "f")
    ops.normalize(x, axis=0); ops.tensordot(x, x, 4); ops.split(x, 2, 0)[0]; ops.norm(x); ops.argmax(x); ops.var(x, 0)
    """,
    tf_keras: "tf.reduce_mean(x); tf.reduce_max(x, 0); tf.concat([x, x], 0); tf.transpose(x); tf.reshape(x, [-1])",
}


@pytest.mark.parametrize("package", BATCH)
def test_the_batch_is_left_alone(package):
    x = package.Input(SHAPE, batch_size=2)
    for case in cases(BATCH[package]):
        graph = parse(json.loads(package.Model(x, tensor(case, package, x)).to_json()), 3 if package is keras else 2)
        with pytest.raises(UnsupportedLayer) as raised:
            KerasNet(graph, rngs=nnx.Rngs(0))
        assert re.search("batch|cannot reshape", str(raised.value)), case


@pytest.mark.parametrize(
    ("package", "case", "complaint"),
    [
        (keras, "ops.sort(x, 1)", "sort: layers of kind ops.Sort are not supported"),
        (tf_keras, "tf.linalg.trace(x)", "tf.linalg.trace: calls tf.linalg.trace, which is not supported"),
        (tf_keras, "tf.nn.silu(x, 2.0)", "tf.nn.silu: is called with beta=2.0, which is not supported"),
        (tf_keras, "tf.image.resize(x, (8, 8), 'area')", "interpolation='area'; supported is 'nearest' or"),
        (keras, "ops.cast(x, 'uint8')", "Cast with dtype='uint8'; supported is 'float32' or"),
        (tf_keras, "tf.einsum('bijc,bikc->bijk', x, x)", "Keras 2 does not save the tensors that tf.einsum reads"),
    ],
)
def test_anything_else_is_refused_by_name(package, case, complaint):
    x = package.Input(SHAPE)
    config = json.loads(package.Model(x, tensor(case, package, x)).to_json())
    with pytest.raises(UnsupportedLayer, match=re.escape(complaint)):
        parse(json.loads(re.sub(r"(tf\.[a-z.]+|sort)_\d+", r"\1", json.dumps(config))), 3 if package is keras else 2)


def test_the_greatest_singular_value_is_refused():
    """For matrices, a norm of order 2 is not the root of a sum of squares."""
    for package, case in ((keras, "ops.norm(x, 2, (1, 2))"), (tf_keras, "tf.norm(x, 2, [1, 2])")):
        x = package.Input(SHAPE)
        graph = parse(json.loads(package.Model(x, tensor(case, package, x)).to_json()), 3 if package is keras else 2)
        with pytest.raises(UnsupportedLayer, match="the greatest singular value of matrices"):
            KerasNet(graph, rngs=nnx.Rngs(0))


def test_the_gradient_of_a_normalized_zero():
    """As in TensorFlow: finite, though that of the norm at 0 is not."""
    x = tf_keras.Input((3,))
    net = KerasNet(parse(json.loads(tf_keras.Model(x, tf.nn.l2_normalize(x, -1) * 2).to_json()), 2), rngs=nnx.Rngs(0))
    zeros = tf.zeros((1, 3))
    with tf.GradientTape() as tape:
        tape.watch(zeros)
        total = tf.reduce_sum(tf.nn.l2_normalize(zeros, -1) * 2)
    assert error(jax.grad(lambda x: net(x).sum())(np.zeros((1, 3), np.float32)), tape.gradient(total, zeros)) <= 1e-4


def test_a_name_without_a_module():
    """A description need not say the module of an operation. The layer of the same name takes a list."""
    x = keras.Input(SHAPE)
    config = json.loads(keras.Model(x, keras.layers.Maximum()([x, ops.maximum(x, 1.5)])).to_json())
    for layer in config["config"]["layers"]:
        layer.pop("module", None)
    assert [node.kind for node in parse(config).nodes] == ["ops.Maximum", "Maximum"]


def test_each_output_has_a_handle(tmp_path):
    """A layer with several outputs is a node for each that is read: `split`, `split:1`; `#2:1` in its second call."""
    x = keras.Input(SHAPE)
    first, second = ops.split(x, 2, -1)
    inner = keras.Model(x, first - second)
    model = keras.Model(x, inner(x) * 2)
    model.save(tmp_path / "m.h5")
    net = weights_convert.load(tmp_path / "m.h5")
    names = [node.name for node in net.graph.nodes]
    split = names[0]
    assert names[:2] == [split, f"{split}:1"]
    found = net.activations(images(), names[:2])
    np.testing.assert_array_equal(found[split], images()[..., :4])
    np.testing.assert_array_equal(found[f"{split}:1"], images()[..., 4:])
    weights_convert.save(net, tmp_path / "again.keras")
    assert weights_convert.load(tmp_path / "again.keras").graph == net.graph
    assert error(keras.models.load_model(tmp_path / "again.keras")(images()), model(images())) <= TOLERANCE
