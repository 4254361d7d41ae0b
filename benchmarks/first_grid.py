"""The first 8 × 8 grid of filters, written in three ways as a user would; `start_up.py` runs them in fresh processes.

    python benchmarks/first_grid.py WAY vgg16.h5 start.npy grid.png STEPS LAYER

`start.npy` holds the images at the start, `[n h w c]` in 0–255. The images at the end are saved as `grid.png.npy`
beside the picture, so that they can be compared.
"""

import os
import sys

import numpy as np


def jaxviz(file, start, picture, steps, layer):
    import jaxviz as jv

    model = jv.load(file, architecture="vgg16_notop", inputs="raw255")
    recipe = jv.recipes.chollet(size=start.shape[1], steps=steps, start=start / 255)
    found = jv.sweep(model, jv.channels(model, layer, range(len(start))), **recipe)
    jv.show_filters(found).savefig(picture)
    return found.image * 255


def keras_io(file, start, picture, steps, layer):
    """The loop of keras.io's example, with the filter as a tensor, so that the step is traced only once."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import tensorflow as tf

    base = keras.models.load_model(file, compile=False)
    network = keras.Model(base.inputs, base.get_layer(layer).output)

    @tf.function
    def step(image, index):
        with tf.GradientTape() as tape:
            tape.watch(image)
            loss = tf.reduce_mean(network(image)[:, :, :, index])
        gradient = tape.gradient(loss, image)
        return image + gradient / (tf.sqrt(tf.reduce_mean(gradient**2)) + 1e-5)

    found = []
    for i, image in enumerate(start):
        image = tf.constant(image[None])
        for _ in range(steps):
            image = step(image, tf.constant(i))
        found.append(image[0].numpy())
    keras.utils.save_img(picture, tiled(found))
    return found


def hand_batched(file, start, picture, steps, layer):
    """Eight filters at a time, with all steps in one graph."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras
    import tensorflow as tf

    base = keras.models.load_model(file, compile=False)
    network = keras.Model(base.inputs, base.get_layer(layer).output)

    @tf.function
    def climb(images, filters):
        for _ in tf.range(steps):
            with tf.GradientTape() as tape:
                tape.watch(images)
                score = tf.gather(tf.reduce_mean(network(images), (1, 2)), filters, batch_dims=1)
            gradient = tape.gradient(score, images)
            images += gradient / (tf.sqrt(tf.reduce_mean(gradient**2, (1, 2, 3), keepdims=True)) + 1e-5)
        return images

    pieces = range(0, len(start), 8)
    found = np.concatenate([climb(tf.constant(start[i : i + 8]), tf.range(i, i + 8)).numpy() for i in pieces])
    keras.utils.save_img(picture, tiled(found))
    return found


def tiled(images, margin=5):
    """The grid of images with the contrast of the book."""
    size = len(images[0])
    grid = np.zeros((8 * size + 7 * margin, 8 * size + 7 * margin, 3))
    for i, image in enumerate(images):
        y, x = (place * (size + margin) for place in divmod(i, 8))
        stretched = (image - image.mean()) / (image.std() + 1e-5) * 0.1 + 0.5
        grid[y : y + size, x : x + size] = np.clip(stretched, 0, 1)
    return grid


if __name__ == "__main__":
    _, way, file, start, picture, steps, layer = sys.argv
    found = {"jaxviz": jaxviz, "keras_io": keras_io, "hand_batched": hand_batched}[way]
    np.save(f"{picture}.npy", found(file, np.load(start), picture, int(steps), layer))
