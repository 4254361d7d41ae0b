"""What the tests ask of real Keras: models with weights that matter, their files, and the outputs of their layers.

Law: an expected number does not depend on the processor. For two kinds of layers, what TensorFlow computes does depend
on it, so `portable` replaces them by layers that are equal by definition, and that it computes alike everywhere.
"""

import json

import h5py
import keras
import numpy as np
from keras import ops
from keras.src.legacy.saving import legacy_h5_format

TOLERANCE = 1e-5


def randomize(model, seed=0):
    """The model with weights that nothing is invisible under: no zero bias, no variance of 1."""
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        fan_in = [np.prod(w.shape[:-1]) for w in layer.weights if len(w.shape) > 1]
        scale = 1 / np.sqrt(fan_in[0]) if fan_in else 1.0
        for weight in layer.weights:
            if "variance" in weight.name:
                weight.assign(rng.uniform(0.5, 2, weight.shape))
            else:
                weight.assign(scale * rng.standard_normal(weight.shape, np.float32))
        if hasattr(layer, "finalize_state"):  # Normalization
            layer.finalize_state()  # it computes with copies of its weights
    return model


def sequential(shape, *layers, seed=0):
    return randomize(keras.Sequential([keras.Input(shape), *layers], name="net"), seed)


def images_for(model, n=2, seed=0):
    """`n` images that the model takes, with both signs."""
    return np.random.default_rng(seed).standard_normal((n, *model.input_shape[1:]), np.float32)


def with_zeros_between(kernel, rate):
    """The kernel [h w o i] of a convolution without dilation that equals the one with this kernel and this dilation."""
    for axis, step in enumerate(rate):
        n, shape = kernel.shape[axis], list(kernel.shape)
        spread = ops.reshape(kernel, [*shape[: axis + 1], 1, *shape[axis + 1 :]])
        spread = ops.pad(spread, [(0, step - 1 if i == axis + 1 else 0) for i in range(len(spread.shape))])
        kernel = ops.reshape(spread, [*shape[:axis], n * step, *shape[axis + 1 :]])
        kernel = kernel[(slice(None),) * axis + (slice(0, (n - 1) * step + 1),)]
    return kernel


class PortableConv2DTranspose(keras.layers.Conv2DTranspose):
    """A transposed convolution whose kernel is dilated explicitly.

    TensorFlow computes one with a dilation rate on processors with AVX-512 only; elsewhere it raises an error.
    """

    def call(self, inputs):
        kernel = with_zeros_between(self.kernel, self.dilation_rate)
        y = ops.conv_transpose(inputs, kernel, self.strides, self.padding, self.output_padding)
        return self.activation(y + self.bias if self.use_bias else y)


class PortableConv3D(keras.layers.Conv3D):
    """A strided convolution: one with stride 1 on the padded image, of which every `stride`-th output is taken.

    If the stride is larger than the window, TensorFlow takes other outputs on processors without AVX-512. "same" pads
    as TensorFlow documents it (tf.nn.convolution): for ceil(n / stride) outputs, the smaller half of it in front.
    """

    def call(self, inputs):
        pads = [(0, 0)] * 5
        if self.padding == "same":
            axes = zip(inputs.shape[1:4], self.kernel_size, self.strides, strict=True)
            missing = [max((-(-n // stride) - 1) * stride + window - n, 0) for n, window, stride in axes]
            pads[1:4] = [(zeros // 2, zeros - zeros // 2) for zeros in missing]
        y = ops.conv(ops.pad(inputs, pads), self.kernel, 1, "valid")
        y = y[:, :: self.strides[0], :: self.strides[1], :: self.strides[2]]
        return self.activation(y + self.bias if self.use_bias else y)


def _stand_in(layer):
    """The class that computes what `layer` does on every processor; its own if TensorFlow does that already."""
    if isinstance(layer, keras.layers.Conv2DTranspose) and max(layer.dilation_rate) > 1:
        return PortableConv2DTranspose
    if isinstance(layer, keras.layers.Conv3D) and any(np.greater(layer.strides, layer.kernel_size)):
        return PortableConv3D
    return type(layer)


def portable(model):
    """The model with layers that TensorFlow computes alike on every processor; the same model if it has no others."""
    if all(_stand_in(layer) is type(layer) for layer in model.layers):
        return model
    again = keras.models.clone_model(model, clone_function=lambda each: _stand_in(each).from_config(each.get_config()))
    again.set_weights(model.get_weights())
    return again


def every_layer(model, images):
    """{layer: its output} as Keras computes it."""
    model = portable(model)
    layers = [layer for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
    outputs = keras.Model(model.inputs[0], [layer.output for layer in layers])(images, training=False)
    outputs = outputs if isinstance(outputs, list) else [outputs]
    return {layer.name: np.asarray(output) for layer, output in zip(layers, outputs, strict=True)}


def described(model):
    """`model_config` as Keras writes it into a file."""
    return json.loads(json.dumps({"class_name": type(model).__name__, "config": model.get_config()}))


def save(model, path):
    """The full model in the legacy layout."""
    model.save(path)
    return path


def save_weights(model, path):
    """The weights only, in the legacy layout, which Keras 3 has no public function for."""
    with h5py.File(path, "w") as file:
        legacy_h5_format.save_weights_to_hdf5_group(file, model)
    return path


def error(found, wanted):
    """The greatest difference, relative to the greatest value."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    assert found.shape == wanted.shape
    return np.abs(found - wanted).max() / max(np.abs(wanted).max(), np.finfo(np.float32).tiny)


def assert_same(net, model, images):
    """Every layer of `net` has Keras' name and Keras' output."""
    wanted = every_layer(model, images)
    found = net.activations(images, wanted)
    assert list(wanted) == [node.name for node in net.graph.nodes]
    errors = {name: error(found[name], wanted[name]) for name in wanted}
    assert max(errors.values()) <= TOLERANCE, errors
    return max(errors.values())
