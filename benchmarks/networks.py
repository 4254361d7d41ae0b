"""Claim: popular networks take no more time than in TensorFlow and in Keras on JAX, light networks included.

    python benchmarks/networks.py

The networks are those of `keras.applications` at their own size, with random weights, each from one `.keras` file. The
score is the logit of one class. Everybody works in a process of its own, in turn:

    tf.function    the Keras model on TensorFlow, forward pass and gradient each compiled by `tf.function`
    Keras 3/JAX    the Keras model on JAX, forward pass and gradient each compiled by `jax.jit`

The peers work in one batch or image by image, whichever is faster for each (this is tried before the rounds). The
answers are compared before any time is printed. The first call is timed once: from a loaded network to the gradient of
one image, with tracing and compiling. The floor counts all multiplications of the network, which XLA reports, at the
speed of a large matrix product.
"""

import functools
import os
import tempfile

import numpy as np
import peers
from common import OURS, Limits, at_a_time, contenders, difference, faster_batch, in_batches, options, race, row, write

NETWORKS = ("VGG16", "ResNet50", "InceptionV3", "DenseNet121", "MobileNetV2", "EfficientNetB0", "ConvNeXtTiny")
IMAGES, TARGET = 8, 3


# Each returns `run(method, *arguments)` for images [n h w c] in [0, 1], which the network gets as they are.


def jaxviz(file: str):
    import jaxviz as jv

    model = jv.load(file, inputs="unit")
    return peers.named(
        {
            "forward": lambda images, batch: jv.activations(model, images, model.scores)[model.scores],
            "gradient": lambda images, batch: jv.gradient(model, images, TARGET).values,
            "multiplications": lambda images, batch: multiplications(model, images[:1]),
        }
    )


def multiplications(model, images) -> float:
    """The multiplications of the forward pass of one image, by XLA's count of the operations before it optimises."""
    import jax

    return jax.jit(lambda images: model(images, [model.scores])).lower(images).cost_analysis()["flops"] / 2


def in_keras(file: str, backend: str):
    os.environ["KERAS_BACKEND"] = backend
    import keras

    network = keras.saving.load_model(file, compile=False)
    network.layers[-1].activation = keras.activations.linear
    return network


def tf_function(file: str):
    network = in_keras(file, "tensorflow")
    import tensorflow as tf

    forward = tf.function(lambda images: network(images, training=False))

    @tf.function
    def gradient(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            scores = tf.reduce_sum(network(images, training=False)[:, TARGET])
        return tape.gradient(scores, images)

    return named(lambda some: forward(tf.constant(some)).numpy(), lambda some: gradient(tf.constant(some)).numpy())


def keras_jax(file: str):
    network = in_keras(file, "jax")
    import jax

    states = (
        [variable.value for variable in network.trainable_variables],
        [variable.value for variable in network.non_trainable_variables],
    )

    def scores(images, trainable, fixed):
        return network.stateless_call(trainable, fixed, images, training=False)[0]

    forward = jax.jit(scores)
    gradient = jax.jit(jax.grad(lambda *args: scores(*args)[:, TARGET].sum()))
    return named(lambda some: np.asarray(forward(some, *states)), lambda some: np.asarray(gradient(some, *states)))


def named(forward, gradient):
    return peers.named(
        {
            "forward": functools.partial(in_batches, forward),
            "gradient": functools.partial(in_batches, gradient),
        }
    )


WAYS = {OURS: jaxviz, "tf.function": tf_function, "Keras 3/JAX": keras_jax}


def save(name: str, file: str) -> tuple[int, int, int]:
    """The shape of the images of a network, which is saved with random weights."""
    import keras

    keras.utils.set_random_seed(0)
    network = getattr(keras.applications, name)(weights=None)
    network.save(file)
    return network.input_shape[1:]


def measure(name: str, file: str, limits: Limits, rounds: int) -> tuple[list, dict[str, float]]:
    """The rows of one network, and the seconds of everybody's first gradient."""
    shape = save(name, file)
    images = np.random.default_rng(0).random((IMAGES, *shape), np.float32)
    found = contenders(WAYS, file)
    first = {who: contender("gradient", images[:1], 1).seconds for who, contender in found.items()}
    floor = found[OURS]("multiplications", images, 1).value / limits.multiplications
    rows = []
    for work, method, some, times in (
        (f"{name}, forward pass of {IMAGES} images", "forward", images, 1),
        (f"{name}, gradient of 1 image", "gradient", images[:1], 2),
        (f"{name}, gradients of {IMAGES} images", "gradient", images, 2),
    ):
        batches = {who: faster_batch(contender, method, some) for who, contender in found.items()}
        answers = {who: contender(method, some, batches[who]).value for who, contender in found.items()}
        ways = {who: at_a_time(contender, batches[who]) for who, contender in found.items()}
        rows.append(
            row(
                work,
                race(ways, method, some, rounds=rounds),
                differences={who: difference(answer, answers[OURS]) for who, answer in answers.items() if who != OURS},
                allowed=1e-2,  # where the input of a ReLU is within rounding of 0, a patch of the gradient differs
                floor=floor * times * len(some),
                wanted={"tf.function": 1, "Keras 3/JAX": 1},
            )
        )
    for contender in found.values():
        contender.end()
    return rows, first


def main():
    args = options(__doc__)
    limits = Limits()
    limits.measure()
    rows, first = [], {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("MobileNetV2",) if args.quick else NETWORKS:
            more, seconds = measure(name, f"{folder}/{name}.keras", limits, 1 if args.quick else args.rounds)
            rows += more
            first[name] = ", ".join(f"{who} {each:.1f}" for who, each in seconds.items())
            print(f"{name}, seconds to the first gradient: {first[name]}")
            if not args.quick:  # after each network, since all of them take half an hour
                results = {"claim": "popular networks, forward pass and gradient", "rows": rows}
                results["seconds to the first gradient"] = first
                print(write("networks", results, ("keras", "tensorflow")))


if __name__ == "__main__":
    main()
