"""Claim: a sweep of filters takes less time per filter and step than any other way to do it.

    python benchmarks/filter_sweep.py

The work is Chollet's ascent of 8 filters on the real VGG16 convolution base, from the same noise. Everybody does the
same steps with the same weights, each in a process of its own, in turn. Compiling and tracing at the first call do not
count. The scores of the first two steps are compared before any time is printed. The peers, each at its best:

    Keras 3/JAX loop        Deep Learning with Python, 3rd edition: one jitted step, filter by filter, in a Python loop
    keras.io loop           the same on Keras' TensorFlow backend; the step is a `tf.function`, the filter a tensor
    hand-batched            plain TensorFlow operations, all filters in a batch, the loop inside one `tf.function`
    few channels            the same, with only the kernels of these 8 filters in the last layer
    tf-keras-vis            ActivationMaximization of the batch, without regularizers, modifiers and clipping
    eager notebook          TensorFlow without `tf.function`, filter by filter, as in many notebooks
    PyTorch, batch 1 · 8    eager, channels last, with gradients of the image alone
"""

import functools

import numpy as np
import peers
from common import OURS, Limits, contenders, difference, options, race, row, write

# Layer, size of the image, steps. Long steps are fewer; they are several, as kernels are transformed once a sweep.
CASES = [(f"block{i}_conv1", 64, 10) for i in (2, 3, 4)] + [(f"block{i}_conv1", 150, 4) for i in (2, 3, 4)]
CASES.append(("block5_conv1", 224, 4))
FILTERS = 8
CHECKED = 2  # steps whose scores are compared: later, ReLUs that flip by rounding slowly drive the images apart
WANTED = {
    ("block3_conv1", 150): {
        "Keras 3/JAX loop": 2.5,
        "keras.io loop": 2.2,
        "hand-batched": 1.2,
        "tf-keras-vis": 2.3,
        "eager notebook": 4.5,
        "PyTorch, batch 1": 1.3,
        "PyTorch, batch 8": 1.3,
    },
    ("block5_conv1", 224): {"hand-batched": 1.2},
}


# Each returns `sweep(layer, start [n h w c] in 0–255, filters [n], steps) -> scores [n steps]`.


def jaxviz(weights: peers.Weights):
    import jaxviz as jv

    model = jv.load("vgg16_demo", inputs="raw255")

    def sweep(layer, start, filters, steps):
        recipe = jv.recipes.chollet(size=start.shape[1], steps=steps, start=start / 255)
        return jv.sweep(model, jv.channels(model, layer, filters), **recipe).scores

    return sweep


def keras_jax(weights: peers.Weights):
    extractor = functools.cache(lambda layer: peers.in_keras(weights, layer, "jax"))
    import jax
    import jax.numpy as jnp

    @functools.cache
    def step_of(layer):
        network = extractor(layer)

        def compute_loss(image, filter_index):
            return jnp.mean(network(image)[:, :, :, filter_index])

        @jax.jit
        def step(image, filter_index):
            loss, gradient = jax.value_and_grad(compute_loss)(image, filter_index)
            return loss, image + gradient / (jnp.sqrt(jnp.mean(gradient**2)) + 1e-5)

        return step

    def sweep(layer, start, filters, steps):
        step, pairs = step_of(layer), zip(start, filters, strict=True)
        return [_climb(step, jnp.asarray(image[None]), index, steps) for image, index in pairs]

    return sweep


def keras_io(weights: peers.Weights):
    return _tensorflow_loop(weights, compiled=True)


def eager(weights: peers.Weights):
    return _tensorflow_loop(weights, compiled=False)


def _tensorflow_loop(weights: peers.Weights, compiled: bool):
    extractor = functools.cache(lambda layer: peers.in_keras(weights, layer, "tensorflow"))
    import tensorflow as tf

    @functools.cache
    def step_of(layer):
        network = extractor(layer)

        def step(image, filter_index):
            with tf.GradientTape() as tape:
                tape.watch(image)
                loss = tf.reduce_mean(network(image)[:, :, :, filter_index])
            gradient = tape.gradient(loss, image)
            return loss, image + gradient / (tf.sqrt(tf.reduce_mean(gradient**2)) + 1e-5)

        return tf.function(step) if compiled else step

    def sweep(layer, start, filters, steps):
        step, pairs = step_of(layer), zip(start, filters, strict=True)
        return [_climb(step, tf.constant(image[None]), tf.constant(index), steps) for image, index in pairs]

    return sweep


def _climb(step, image, filter_index, steps) -> list[float]:
    losses = []
    for _ in range(steps):
        loss, image = step(image, filter_index)
        losses.append(loss)
    return [float(loss) for loss in losses]


def hand_batched(weights: peers.Weights):
    return _hand_batched(weights, lambda layer, filters: weights)


def few_channels(weights: peers.Weights):
    import tensorflow as tf

    def chosen(layer, filters):
        """The weights with only these filters in the last layer, which then has 8 channels, one for each image."""
        return weights | {layer: [tf.gather(array, filters, axis=-1) for array in weights[layer]]}

    return _hand_batched(weights, chosen)


def _hand_batched(weights: peers.Weights, chosen):
    import tensorflow as tf

    @functools.cache
    def climb_of(layer):
        @tf.function
        def climb(images, filters, steps):
            ours = chosen(layer, filters)
            network = peers.in_tensorflow(ours, layer)
            columns = filters if ours is weights else tf.range(len(filters))
            scores = tf.TensorArray(tf.float32, steps)
            for i in tf.range(steps):
                with tf.GradientTape() as tape:
                    tape.watch(images)
                    score = tf.gather(tf.reduce_mean(network(images), (1, 2)), columns, batch_dims=1)
                gradient = tape.gradient(score, images)
                images += gradient / (tf.sqrt(tf.reduce_mean(gradient**2, (1, 2, 3), keepdims=True)) + 1e-5)
                scores = scores.write(i, score)
            return tf.transpose(scores.stack())

        return climb

    return lambda layer, start, filters, steps: climb_of(layer)(
        tf.constant(start), tf.constant(filters), tf.constant(steps)
    ).numpy()


def tf_keras_vis(weights: peers.Weights):
    extractor = functools.cache(lambda layer: peers.in_keras(weights, layer, "tensorflow"))
    import tensorflow as tf
    from tf_keras_vis.activation_maximization import ActivationMaximization
    from tf_keras_vis.activation_maximization.callbacks import Callback

    class Scores(Callback):
        def __init__(self):
            self.seen = []

        def __call__(self, step, images, gradients, scores, *_, **__):
            self.seen.append(scores[0])

    def sweep(layer, start, filters, steps):
        scores = Scores()
        ActivationMaximization(extractor(layer), clone=False)(
            lambda output: tf.gather(tf.reduce_mean(output, (1, 2)), filters, batch_dims=1),
            seed_input=start,
            input_range=None,
            input_modifiers=[],
            regularizers=[],
            steps=steps,
            optimizer=tf.keras.optimizers.SGD(1.0),
            gradient_modifier=lambda g: g / (tf.sqrt(tf.reduce_mean(g**2, (1, 2, 3), keepdims=True)) + 1e-5),
            callbacks=[scores],
        )
        return np.stack(scores.seen, axis=1)

    return sweep


def torch_1(weights: peers.Weights):
    return _torch(weights, 1)


def torch_8(weights: peers.Weights):
    return _torch(weights, 8)


def _torch(weights: peers.Weights, batch: int):
    import torch

    network_of = functools.cache(lambda layer: peers.in_torch(weights, layer))

    def climb(network, images, filters, steps):
        scores = []
        for _ in range(steps):
            images = images.detach().requires_grad_()
            each = network(images).mean((2, 3)).gather(1, filters[:, None])[:, 0]
            (gradient,) = torch.autograd.grad(each.sum(), images)
            images = images + gradient / (gradient.square().mean((1, 2, 3), keepdim=True).sqrt() + 1e-5)
            scores.append(each.detach())
        return torch.stack(scores, 1).cpu().numpy()

    def sweep(layer, start, filters, steps):
        network = network_of(layer)
        pieces = [slice(first, first + batch) for first in range(0, len(filters), batch)]
        chosen = torch.tensor(filters)
        return np.concatenate([climb(network, peers.to_torch(start[p]), chosen[p], steps) for p in pieces])

    return sweep


WAYS = {
    OURS: jaxviz,
    "Keras 3/JAX loop": keras_jax,
    "keras.io loop": keras_io,
    "hand-batched": hand_batched,
    "hand-batched, few channels": few_channels,
    "tf-keras-vis": tf_keras_vis,
    "eager notebook": eager,
    "PyTorch, batch 1": torch_1,
    "PyTorch, batch 8": torch_8,
}


def main():
    args = options(__doc__)
    import jaxviz as jv

    model = jv.load("vgg16_demo", inputs="raw255")
    found, limits, rows, first = contenders(WAYS, peers.weights_of(model)), Limits(), [], {}
    for layer, size, steps in CASES[:1] if args.quick else CASES:
        start = np.random.default_rng(0).random((FILTERS, size, size, 3), np.float32) * 20 + 128
        filters = list(range(FILTERS))
        answers = {name: contender(layer, start, filters, CHECKED) for name, contender in found.items()}
        scores = {name: answer.value for name, answer in answers.items()}
        first[f"{layer}, {size}²"] = f"{answers[OURS].seconds:.1f} s"
        limits.measure()
        rows.append(
            row(
                f"{layer}, {size}²",
                race(found, layer, start, filters, steps, rounds=1 if args.quick else args.rounds),
                per=FILTERS * steps,
                differences={name: difference(each, scores[OURS]) for name, each in scores.items() if name != OURS},
                floor=FILTERS * steps * 2 * limits.floor(model, layer, size),
                wanted=WANTED.get((layer, size)),
            )
        )
    if not args.quick:
        claim = "ms per filter and step of Chollet's ascent, 8 filters of VGG16"
        results = {"claim": claim, "rows": rows, f"first call of jaxviz, {CHECKED} steps and compiling": first}
        print(write("filter_sweep", results, ("keras", "tensorflow", "tf-keras-vis", "torch")))


if __name__ == "__main__":
    main()
