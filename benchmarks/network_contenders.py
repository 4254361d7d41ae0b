"""The contenders of `networks.py` and `networks_first.py`: the same work on a Keras network, each in its framework.

    tf.function    the Keras model on TensorFlow, compiled by `tf.function`; the ascent with its loop
    Keras 3/JAX    the Keras model on JAX, compiled by `jax.jit`; the ascent step by step
    PyTorch        the same network as modules of PyTorch (`torch_networks.py`), eager, channels last

A peer has four functions: scores, the gradient, the map of Grad-CAM before it is enlarged, and the ascent. Integrated
gradients, SmoothGrad and occlusion are made of them in NumPy, the same way for all peers, and of jaxviz' own functions
for jaxviz. Layer-wise relevance propagation in PyTorch is zennit's, without torchvision.
"""

import functools
import itertools
import os
from collections.abc import Callable
from typing import Any

import numpy as np
import peers
from common import CORES, OURS, in_batches

POINTS, SAMPLES, NOISE, WINDOWS, FILL = 20, 20, 0.15, 5, 0.5  # noise and fill in [0, 1]
RANGE = 255  # jaxviz takes images in [0, 1], a peer in the range of the network
COMPILED = "jaxviz, compiled before"


# Each returns `run(method, *arguments, batch)`. The last of `arguments` are images [n h w c].


def jaxviz(file: str, target: int, last: str, middle: str) -> Callable:
    import jaxviz as jv
    from jaxviz.model import out_of_range

    model = jv.load(file, inputs="raw255")
    epsilon = {**jv.rules.COMPOSITES["epsilon_plus"], "convolution": jv.rules.Epsilon()}

    def smoothgrad(images, batch):
        return jv.smooth(lambda x: jv.gradient(model, x, target), images[0], samples=SAMPLES, noise=NOISE).values

    def ascent(filters, steps, start, batch):
        recipe = jv.recipes.chollet(size=start.shape[1], steps=steps, start=start)
        return jv.sweep(model, jv.channels(model, middle, filters), **recipe).scores

    def mean_gradient(copies):
        with out_of_range():
            return jv.gradient(model, copies, target).values.mean(0)

    return peers.named(
        {
            "scores": lambda images, batch: jv.activations(model, images, model.scores)[model.scores],
            "gradient": lambda images, batch: jv.gradient(model, images, target).values,
            "Grad-CAM": lambda images, batch: jv.grad_cam(model, images, target, layer=last).values,
            "integrated": lambda images, batch: (
                jv.integrated_gradients(model, images[0], target, steps=POINTS, rule="right").values
            ),
            "SmoothGrad": smoothgrad,
            "occlusion": lambda images, batch: (
                jv.occlusion(model, images[0], target, window=window(images), fill=FILL).values
            ),
            "ascent": ascent,
            "LRP": lambda images, batch: jv.lrp(model, images[0], target, composite=epsilon).values,
            "mean gradient": mean_gradient,
            "enlarged": lambda maps: enlarged(model, target, last, maps),
            "multiplications": lambda layer: multiplications(model, layer or model.scores),
        }
    )


def compiled_before(file: str, target: int, last: str, middle: str) -> Callable:
    import jaxviz as jv

    jv.keep_compilations(f"{file}.compiled")
    return jaxviz(file, target, last, middle)


def enlarged(model: Any, target: int, layer: str, maps: np.ndarray) -> np.ndarray:
    """The maps of a layer as `grad_cam` enlarges them."""
    from jaxviz.attribution.layer_maps import enlarged, seen_layers
    from jaxviz.objectives import Unit

    size = model.image_size()[:-1]
    (place,) = seen_layers(model, Unit(model.scores, target), layer, size).places
    return np.stack([enlarged(each, size, True, place) for each in maps])


def multiplications(model: Any, layer: str) -> float:
    """The multiplications of the pass of one image to a layer, by XLA's count of the operations before it optimises."""
    import jax

    image = jax.ShapeDtypeStruct((1, *model.image_size()), np.float32)
    return jax.jit(lambda images: model(images, [layer])).lower(image).cost_analysis()["flops"] / 2


def tf_function(file: str, target: int, last: str, middle: str) -> Callable:
    network = in_keras(file, "tensorflow")
    import keras
    import tensorflow as tf

    scores = tf.function(lambda images: network(images, training=False))

    @tf.function
    def gradient(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            score = tf.reduce_sum(network(images, training=False)[:, target])
        return tape.gradient(score, images)

    @functools.cache
    def cam():
        base, head = parts(network, last)

        @tf.function
        def run(images):
            activation = base(images, training=False)
            with tf.GradientTape() as tape:
                tape.watch(activation)
                score = tf.reduce_sum(head(activation, training=False)[:, target])
            weights = tf.reduce_mean(tape.gradient(score, activation), (1, 2), keepdims=True)
            return tf.nn.relu(tf.reduce_sum(activation * weights, -1))

        return run

    @functools.cache
    def climb():
        base = keras.Model(network.inputs, value(network, middle))

        @tf.function
        def run(images, filters, steps):
            scores = tf.TensorArray(tf.float32, steps)
            for step in tf.range(steps):
                with tf.GradientTape() as tape:
                    tape.watch(images)
                    activation = base.call(images, training=False)  # `call` takes images of any size
                    score = tf.gather(tf.reduce_mean(activation, (1, 2)), filters, batch_dims=1)
                gradient = tape.gradient(score, images)
                images += gradient / (tf.sqrt(tf.reduce_mean(gradient**2, (1, 2, 3), keepdims=True)) + 1e-5)
                scores = scores.write(step, score)
            return tf.transpose(scores.stack())

        return run

    return composed(
        target,
        lambda images: scores(tf.constant(images)).numpy(),
        lambda images: gradient(tf.constant(images)).numpy(),
        lambda images: cam()(tf.constant(images)).numpy(),
        lambda start, filters, steps: climb()(tf.constant(start), tf.constant(filters), tf.constant(steps)).numpy(),
    )


def keras_jax(file: str, target: int, last: str, middle: str) -> Callable:
    network = in_keras(file, "jax")
    import jax
    import jax.numpy as jnp
    import keras

    def stateless(part):
        """A part as a function of its values and images of any size, and the values."""

        def run(values, images):
            with keras.StatelessScope(zip(part.variables, values, strict=True)):
                return part.call(images, training=False)

        return run, [variable.value for variable in part.variables]

    whole, values = stateless(network)
    scores = jax.jit(whole)
    gradient = jax.jit(jax.grad(lambda values, images: whole(values, images)[:, target].sum(), argnums=1))

    @functools.cache
    def cam():
        (base, below), (head, above) = (stateless(part) for part in parts(network, last))

        @jax.jit
        def run(below, above, images):
            activation = base(below, images)
            gradient = jax.grad(lambda activation: head(above, activation)[:, target].sum())(activation)
            return jax.nn.relu((activation * gradient.mean((1, 2), keepdims=True)).sum(-1))

        return functools.partial(run, below, above)

    @functools.cache
    def climb():
        base, values = stateless(keras.Model(network.inputs, value(network, middle)))

        @jax.jit
        def step(values, images, filters):
            def score(images):
                each = jnp.take_along_axis(base(values, images).mean((1, 2)), filters[:, None], 1)[:, 0]
                return each.sum(), each

            gradient, each = jax.grad(score, has_aux=True)(images)
            return each, images + gradient / (jnp.sqrt((gradient**2).mean((1, 2, 3), keepdims=True)) + 1e-5)

        def run(start, filters, steps):
            images, scores = jnp.asarray(start), []
            for _ in range(steps):
                each, images = step(values, images, np.array(filters))
                scores.append(each)
            return np.stack(scores, 1)

        return run

    return composed(
        target,
        lambda images: np.asarray(scores(values, images)),
        lambda images: np.asarray(gradient(values, images)),
        lambda images: np.asarray(cam()(images)),
        lambda start, filters, steps: climb()(start, filters, steps),
    )


def pytorch(file: str, target: int, last: str, middle: str) -> Callable:
    import torch
    import torch_networks

    torch.set_num_threads(CORES)
    torch.set_default_device("cuda" if torch.cuda.is_available() else "cpu")
    network = torch.load(f"{file}.pt", weights_only=False, map_location=torch.get_default_device())
    output = network.steps[-1].name
    base, head = network.part(torch_networks.IMAGE, last), network.part(last, output)
    lower = network.part(torch_networks.IMAGE, middle)

    def scores(images):
        with torch.inference_mode():
            return network(peers.to_torch(images)).cpu().numpy()

    def gradient(images):
        images = peers.to_torch(images).requires_grad_()
        (found,) = torch.autograd.grad(network(images)[:, target].sum(), images)
        return peers.from_torch(found)

    def cam(images):
        with torch.no_grad():
            activation = base(peers.to_torch(images))
        activation.requires_grad_()
        (found,) = torch.autograd.grad(head(activation)[:, target].sum(), activation)
        with torch.inference_mode():
            return (activation * found.mean((2, 3), keepdim=True)).sum(1).relu().cpu().numpy()

    def climb(start, filters, steps):
        images, chosen, scores = peers.to_torch(start), torch.tensor(filters)[:, None], []
        for _ in range(steps):
            images = images.detach().requires_grad_()
            each = lower(images).mean((2, 3)).gather(1, chosen)[:, 0]
            (found,) = torch.autograd.grad(each.sum(), images)
            images = images + found / (found.square().mean((1, 2, 3), keepdim=True).sqrt() + 1e-5)
            scores.append(each.detach())
        return torch.stack(scores, 1).cpu().numpy()

    def lrp(images, batch):
        from torchvision_stub import stub_torchvision

        stub_torchvision()
        from zennit.attribution import Gradient
        from zennit.composites import LayerMapComposite
        from zennit.rules import Epsilon, Pass
        from zennit.types import Activation, Linear

        def start(scores):
            return torch.zeros_like(scores).index_copy_(1, torch.tensor([target]), scores[:, target : target + 1])

        composite = LayerMapComposite([(Activation, Pass()), (Linear, Epsilon())])
        with Gradient(network, composite) as attributor:
            _, relevance = attributor(peers.to_torch(images), start)
        return peers.from_torch(relevance)[0]

    return composed(target, scores, gradient, cam, climb, LRP=lrp)


def in_keras(file: str, backend: str) -> Any:
    os.environ["KERAS_BACKEND"] = backend
    import keras

    network = keras.saving.load_model(file, compile=False)
    network.layers[-1].activation = keras.activations.linear
    return network


def value(network: Any, layer: str) -> Any:
    """The symbolic value of a layer, or of an operation, of a Keras model."""
    return next(each.output for each in network.operations if each.name == layer)


def parts(network: Any, layer: str) -> tuple[Any, Any]:
    """A Keras model up to the value of a layer, and from there on."""
    import keras

    at = value(network, layer)
    return keras.Model(network.inputs, at), keras.Model(at, network.outputs[0])


def composed(
    target: int, scores: Callable, gradient: Callable, cam: Callable, climb: Callable, **more: Callable
) -> Callable:
    """The methods of a peer, made of its functions of images in 0–255."""

    def integrated(images, batch):
        path = np.float32(np.arange(1, POINTS + 1) / POINTS)[:, None, None, None] * images
        return in_batches(gradient, path, batch).mean(0) * images[0]

    def occlusion(images, batch):
        side = window(images)
        whole, *each = in_batches(scores, occluded(images[0], side), batch)[:, target]
        lost = whole - np.array(each)
        return lost.reshape(WINDOWS, WINDOWS).repeat(side, 0).repeat(side, 1)[: images.shape[1], : images.shape[2]]

    def ascent(filters, steps, start, batch):
        pieces = [slice(i, i + batch) for i in range(0, len(start), batch)]
        return np.concatenate([climb(start[piece], filters[piece], steps) for piece in pieces])

    return peers.named(
        {
            "scores": functools.partial(in_batches, scores),
            "gradient": functools.partial(in_batches, gradient),
            "Grad-CAM": functools.partial(in_batches, cam),
            "integrated": integrated,
            "SmoothGrad": lambda images, batch: in_batches(gradient, noisy(images), batch).mean(0),
            "occlusion": occlusion,
            "ascent": ascent,
            **more,
        }
    )


def noisy(images: np.ndarray) -> np.ndarray:
    """Noisy copies of an image in 0–255, the same at each call."""
    noise = np.random.default_rng(0).standard_normal((SAMPLES, *images.shape[1:]), np.float32)
    return images + np.float32(NOISE * RANGE) * noise


def window(images: np.ndarray) -> int:
    """The side of the windows of occlusion."""
    return -(-images.shape[1] // WINDOWS)


def occluded(image: np.ndarray, side: int) -> np.ndarray:
    """An image in 0–255, and its copies with one window filled each."""
    copies = np.repeat(image[None], 1 + WINDOWS**2, 0)
    for copy, (y, x) in zip(copies[1:], itertools.product(range(0, len(image), side), repeat=2), strict=True):
        copy[y : y + side, x : x + side] = FILL * RANGE
    return copies


WAYS = {OURS: jaxviz, "tf.function": tf_function, "Keras 3/JAX": keras_jax, "PyTorch": pytorch}
