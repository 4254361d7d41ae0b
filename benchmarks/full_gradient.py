"""Claim: the gradient of the whole of VGG16 with respect to its image takes less time than in any other framework.

    python benchmarks/full_gradient.py

The network is the convolution base with its real weights, and the images are 8 crops of a photograph at 224². The score
of an image is the mean of all of `block5_pool`, so that nobody can leave a channel out. Everybody works in a process of
its own, in turn, after compiling, and the gradients are compared. The peers work in one batch or image by image,
whichever is faster for each (this is tried before the rounds):

    Keras 3/JAX      `jax.jit` of `jax.grad` of a Keras model
    hand-batched     plain TensorFlow operations in a `tf.function`
    PyTorch          eager, channels last
    captum           `Saliency` of the same PyTorch network, with its sign
"""

import numpy as np
import peers
from common import OURS, Limits, at_a_time, contenders, difference, faster_batch, in_batches, options, race, row, write

SIZE, IMAGES = 224, 8
LAYER = "block5_pool"
WANTED = {"hand-batched": 1.15, "PyTorch": 1.3}


# Each returns `gradients(images [n h w c] in [0, 1], batch) -> [n h w c]`, with respect to images in 0–255.


def jaxviz(weights: peers.Weights):
    import jax.numpy as jnp
    from flax import struct

    import jaxviz as jv

    @struct.dataclass
    class Mean(jv.Objective):
        """The mean of a whole layer."""

        layer: str = struct.field(pytree_node=False)

        @property
        def layers(self):
            return (self.layer,)

        def __call__(self, activations):
            return jnp.mean(activations[self.layer])

    model = jv.load("vgg16_demo", inputs="raw255")
    return lambda images, batch: jv.gradient(model, images, Mean(LAYER)).values / 255


def keras_jax(weights: peers.Weights):
    network = peers.in_keras(weights, LAYER, "jax")
    import jax

    gradient = jax.jit(jax.grad(lambda images: network(images).mean((1, 2, 3)).sum()))
    return lambda images, batch: in_batches(lambda some: np.asarray(gradient(some)), 255 * images, batch)


def hand_batched(weights: peers.Weights):
    network = peers.in_tensorflow(weights, LAYER)
    import tensorflow as tf

    @tf.function
    def gradient(images):
        with tf.GradientTape() as tape:
            tape.watch(images)
            score = tf.reduce_sum(tf.reduce_mean(network(images), (1, 2, 3)))
        return tape.gradient(score, images)

    return lambda images, batch: in_batches(lambda some: gradient(tf.constant(some)).numpy(), 255 * images, batch)


def torch(weights: peers.Weights):
    network = peers.in_torch(weights, LAYER)
    import torch

    def gradient(some):
        x = peers.to_torch(some).requires_grad_()
        return peers.from_torch(torch.autograd.grad(network(x).mean((1, 2, 3)).sum(), x)[0])

    return lambda images, batch: in_batches(gradient, 255 * images, batch)


def captum(weights: peers.Weights):
    network = peers.in_torch(weights, LAYER)
    from captum.attr import Saliency

    saliency = Saliency(lambda images: network(images).mean((1, 2, 3)))

    def gradient(some):
        return peers.from_torch(saliency.attribute(peers.to_torch(some).requires_grad_(), abs=False))

    return lambda images, batch: in_batches(gradient, 255 * images, batch)


WAYS = {OURS: jaxviz, "Keras 3/JAX": keras_jax, "hand-batched": hand_batched, "PyTorch": torch, "captum": captum}


def main():
    args = options(__doc__)
    import skimage.data

    import jaxviz as jv

    model = jv.load("vgg16_demo", inputs="raw255")
    photograph = np.float32(skimage.data.chelsea()) / 255
    images = np.stack([photograph[y : y + SIZE, x : x + SIZE] for y in (0, 76) for x in (0, 75, 150, 225)])
    images = images[:2] if args.quick else images
    found, limits = contenders(WAYS, peers.weights_of(model)), Limits()
    batches = {name: faster_batch(contender, images) for name, contender in found.items()}
    gradients = {name: contender(images, batches[name]).value for name, contender in found.items()}
    limits.measure()
    rows = [
        row(
            f"VGG16 to {LAYER}, {SIZE}², {len(images)} images",
            race({name: at_a_time(found[name], batches[name]) for name in found}, images, rounds=args.rounds),
            per=len(images),
            differences={name: difference(each, gradients[OURS]) for name, each in gradients.items() if name != OURS},
            allowed=1e-2,  # where a ReLU or pool is within rounding of a tie, a patch of the gradient differs
            floor=len(images) * 2 * limits.floor(model, LAYER, SIZE),
            wanted=WANTED,
        )
    ]
    if not args.quick:
        results = {"claim": "ms per image, the gradient of the whole of VGG16's convolution base", "rows": rows}
        results["images at a time"] = {name: batch for name, batch in batches.items() if name != OURS}
        print(write("full_gradient", results, ("keras", "tensorflow", "torch", "captum")))


if __name__ == "__main__":
    main()
