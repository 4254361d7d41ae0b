"""How long attributions and activations take here, with tf-explain and with tf-keras-vis.

    pip install tf-explain==0.3.1 tf-keras-vis==0.8.7 opencv-python-headless
    python benchmarks/attribution.py

One process, one device, the same real weights (a classifier on VGG16 at 240 × 240, built in Keras, TensorFlow backend),
the same photograph and the same work, in turn. Times are of the numbers, in milliseconds, the peers at their best: each
called as it documents, in one batch where it takes one, with its own `tf.function` or `predict`. Left out is what is
done once (building a model, compiling) and what comes after the numbers (normalising, pictures), but for one row: what
a user of tf-explain waits for. A dash: it has no such method. Before any time is printed, the answers are compared:

    SmoothGrad    the mean of 20 gradients: our gradient on *their* noisy copies; tf-explain's is of the cross-entropy
    integrated    `get_integrated_gradients` on our path, times the way; its own path has as many points
    occlusion     1 - score of each of 25 windows, filled with its 127.5, enlarged; ours runs the whole image, too
    Grad-CAM      the maps of 8 images: against tf-explain's without ReLU, tf-keras-vis' before it enlarges them
    activations   block3_conv1 of 8 images; as pictures: by `explain()`, which builds its model anew
    Score-CAM     at block1_conv2, one pass for each of its 64 channels (at block5_conv3 there are 512); explaining
                  log p, both are Σ activation · p but for a factor: each is divided by its sum

The difference is the norm of the difference over the norm: where a ReLU or a pool is within rounding of a tie, it falls
one way here and the other there, and a few pixels of a gradient with it.

The last column is the least time that the multiplications of these passes take at the speed of a large matrix product
here, counted as direct convolution.
"""

import os

os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import importlib.metadata
import statistics
import warnings
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import keras
import numpy as np
import skimage.data
from common import alternate, matrix_speed, median_ratio, multiplications, write
from tf_explain import core as tf_explain
from tf_keras_vis.gradcam import Gradcam
from tf_keras_vis.saliency import Saliency
from tf_keras_vis.scorecam import Scorecam
from tf_keras_vis.utils.scores import CategoricalScore

import jaxviz as jv
from jaxviz.model import out_of_range
from jaxviz.tf_explain import CrossEntropy, extract_activations

SIZE, SAMPLES, NOISE, WINDOW, IMAGES, ROUNDS = 240, 20, 0.15, 48, 8, 3
LAST, MIDDLE, EARLY = "block5_conv3", "block3_conv1", "block1_conv2"
PEERS = ("tf-explain", "tf-keras-vis")


class Row(NamedTuple):
    """Who does it, how far their numbers are from ours, and the least multiplications."""

    ways: dict[str, Callable[[], Any]]
    differences: dict[str, float]
    multiplications: float


def in_keras(model: jv.Model) -> tuple[keras.Model, keras.Model]:
    """The same classifier in Keras, with its softmax and without."""
    layers = keras.layers
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3))
    x = layers.Flatten()(base.output)
    x = layers.BatchNormalization(epsilon=0)(layers.Dense(64, "relu")(x))
    x = layers.BatchNormalization(epsilon=0)(layers.Dense(128, "relu")(x))
    logits = layers.Dense(4)(layers.Dense(256, "relu")(x))
    network = keras.Model(base.inputs, layers.Softmax()(logits))
    theirs = [layer for layer in network.layers if layer.weights]
    ours = [layer.name for layer in model.table if layer.parameters]
    for layer, name in zip(theirs, ours, strict=True):
        normalized = isinstance(layer, layers.BatchNormalization)
        names = ("scale", "bias", "mean", "var") if normalized else ("kernel", "bias")
        layer.set_weights([np.asarray(model.params["layers"][name][weight][...]) for weight in names])
    return network, keras.Model(network.inputs, logits)


def difference(theirs: Any, ours: Any) -> float:
    """The norm of the difference, relative to the norm."""
    theirs, ours = np.asarray(theirs, np.float64), np.asarray(ours, np.float64)
    assert theirs.shape == ours.shape, f"{theirs.shape} is not {ours.shape}"
    return float(np.linalg.norm(theirs - ours) / np.linalg.norm(ours))


def enlarged(maps: Any) -> np.ndarray:
    return np.asarray(jax.image.resize(np.asarray(maps), (*maps.shape[:-2], SIZE, SIZE), "bilinear"))


def smoothgrad(model, network, logits, images, target, forward) -> Row:
    image, peer = images[:1], tf_explain.SmoothGrad()
    saliency = Saliency(logits)
    spread = image.max() - image.min()
    loss = CrossEntropy(1.0, jv.Unit(model.scores, target))

    def mean_gradient(of):
        np.random.seed(0)
        copies = np.float32(image + np.random.normal(0, NOISE, (SAMPLES, *image.shape[1:])))
        with out_of_range():
            return jv.gradient(model, copies, of).values.mean(0)

    def in_tf_explain():
        copies = peer.generate_noisy_images(image, SAMPLES, NOISE)
        return peer.get_averaged_gradients(copies, network, target, SAMPLES).numpy()

    def in_tf_keras_vis():
        return saliency(
            CategoricalScore(target),
            image,
            smooth_samples=SAMPLES,
            smooth_noise=NOISE / spread,
            keepdims=True,
            gradient_modifier=None,
            normalize_map=False,
        )

    differences = {}
    for name, run, of in (("tf-explain", in_tf_explain, loss), ("tf-keras-vis", in_tf_keras_vis, target)):
        np.random.seed(0)
        differences[name] = difference(run()[0], mean_gradient(of))
    ways = {
        "jaxviz": lambda: jv.smooth(lambda x: jv.gradient(model, x, target), image[0], samples=SAMPLES, noise=NOISE),
        "tf-explain": in_tf_explain,
        "tf-keras-vis": in_tf_keras_vis,
    }
    return Row(ways, differences, 2 * SAMPLES * forward)


def integrated(model, network, logits, images, target, forward) -> Row:
    image, peer = images[:1], tf_explain.IntegratedGradients()

    def in_tf_explain(path=None):
        path = peer.generate_interpolations(image, SAMPLES) if path is None else path
        return peer.get_integrated_gradients(path, logits, target, SAMPLES).numpy()

    def ours():
        return jv.integrated_gradients(model, image[0], target, steps=SAMPLES, rule="right")

    path = np.arange(1, SAMPLES + 1)[:, None, None, None] / SAMPLES * image
    differences = {"tf-explain": difference(in_tf_explain(path) * image, ours().values[None])}
    return Row({"jaxviz": ours, "tf-explain": in_tf_explain}, differences, 2 * SAMPLES * forward)


def occlusion(model, network, logits, images, target, forward) -> Row:
    image, peer = images[0], tf_explain.OcclusionSensitivity()

    def in_tf_explain():
        return peer.get_sensitivity_map(logits, image, target, WINDOW)

    def ours():
        return jv.occlusion(model, image, target, window=WINDOW, fill=127.5)

    found = ours()
    missing = 1 - (found.score - found.values[::WINDOW, ::WINDOW])
    differences = {"tf-explain": difference(in_tf_explain(), enlarged(missing))}
    return Row({"jaxviz": ours, "tf-explain": in_tf_explain}, differences, missing.size * forward)


def grad_cam(model, network, logits, images, target, forward) -> Row:
    peer, gradcam = tf_explain.GradCAM(), Gradcam(logits)

    def in_tf_explain():
        found = peer.get_gradients_and_filters(logits, images, LAST, target, use_guided_grads=False)
        return np.stack(peer.generate_ponderated_output(*found))

    def in_tf_keras_vis(expand=True):
        score = CategoricalScore(target)
        return gradcam(score, images, penultimate_layer=LAST, expand_cam=expand, normalize_cam=False)

    signed = jv.grad_cam(model, images, target, layer=LAST, relu=False).values
    positive = jv.grad_cam(model, images, target, layer=LAST).values
    differences = {
        "tf-explain": difference(enlarged(in_tf_explain()), signed),
        "tf-keras-vis": difference(enlarged(in_tf_keras_vis(expand=False)), positive),
    }
    ways = {
        "jaxviz": lambda: jv.grad_cam(model, images, target, layer=LAST),
        "tf-explain": in_tf_explain,
        "tf-keras-vis": in_tf_keras_vis,
    }
    return Row(ways, differences, IMAGES * forward)


def activations(model, network, logits, images, target, forward) -> Row:
    extractor = tf_explain.ExtractActivations.generate_activations_graph(network, [MIDDLE])

    def in_tf_explain():
        return extractor.predict(images, batch_size=IMAGES)

    def ours():
        return jv.activations(model, images, MIDDLE)[MIDDLE]

    differences = {"tf-explain": difference(in_tf_explain(), ours())}
    return Row({"jaxviz": ours, "tf-explain": in_tf_explain}, differences, up_to_middle(model))


def pictures(model, network, logits, images, target, forward) -> Row:
    peer = tf_explain.ExtractActivations(batch_size=IMAGES)

    def in_tf_explain(images=images):
        return peer.explain((images, None), network, [MIDDLE])

    def ours(images=images):
        return extract_activations(model, images, MIDDLE)

    differences = {"tf-explain": difference(in_tf_explain(images[:1]), ours(images[0]))}
    return Row({"jaxviz": ours, "tf-explain": in_tf_explain}, differences, up_to_middle(model))


def up_to_middle(model: jv.Model) -> float:
    following = model.layers[model.layers.index(MIDDLE) + 1]
    return IMAGES * multiplications(model, following, SIZE)


def score_cam(model, network, logits, images, target, forward) -> Row:
    image, scorecam = images[:1], Scorecam(logits)
    log_probability = -CrossEntropy(1.0, jv.Unit(model.scores, target))

    def in_tf_keras_vis():
        return scorecam(CategoricalScore(target), image, penultimate_layer=EARLY, normalize_cam=False)

    def ours():
        return jv.score_cam(model, image[0], log_probability, layer=EARLY)

    first, second = ours().values, in_tf_keras_vis()[0]
    ways = {"jaxviz": ours, "tf-keras-vis": in_tf_keras_vis}
    channels = model.shapes(names=[EARLY])[EARLY][-1]
    return Row(ways, {"tf-keras-vis": difference(second / second.sum(), first / first.sum())}, channels * forward)


METHODS = {
    f"SmoothGrad, {SAMPLES} samples": smoothgrad,
    f"integrated gradients, {SAMPLES} steps": integrated,
    f"occlusion, {WINDOW} × {WINDOW}": occlusion,
    f"Grad-CAM, {IMAGES} images": grad_cam,
    f"activations, {IMAGES} images": activations,
    "the same, as pictures": pictures,
    "Score-CAM, 64 channels": score_cam,
}


def main():
    keras.config.disable_interactive_logging()  # predict's progress bars
    warnings.filterwarnings("ignore", message="(.|\n)*The structure of `inputs`", category=UserWarning)  # Keras 3's
    model = jv.load("vgg16_tumor")
    network, logits = in_keras(model)
    photograph = np.float32(skimage.data.chelsea()) / 255
    shifts = np.linspace(0, photograph.shape[1] - SIZE, IMAGES).astype(int)
    images = np.stack([photograph[:SIZE, left : left + SIZE] for left in shifts])
    target = int(jv.predict(model, images[0]).argmax())
    forward = multiplications(model, "block5_pool", SIZE)  # what comes after it is a thousandth
    rows = []
    print(f"{'ms':<33}{'jaxviz':>8}" + "".join(f"{peer:>14}{'ratio':>7}" for peer in PEERS) + f"{'floor':>8}")
    for name, method in METHODS.items():
        row = method(model, network, logits, images, target, forward)
        for peer, value in row.differences.items():
            assert value < 1e-3, f"{name}: {peer} and jaxviz differ by {value:.1e}"
        for run in row.ways.values():
            run()
        speeds = []
        seconds = alternate({**row.ways, "floor": lambda found=speeds: found.append(matrix_speed())}, ROUNDS)
        each = {way: 1e3 * statistics.median(seconds[way]) for way in row.ways}
        ratios = {peer: median_ratio(seconds[peer], seconds["jaxviz"]) for peer in PEERS if peer in seconds}
        floor = 1e3 * row.multiplications / max(speeds)
        rows.append(
            {
                "method": name,
                "ms": {way: round(value, 1) for way, value in each.items()},
                "ratio": {peer: round(value, 2) for peer, value in ratios.items()},
                "difference": {peer: float(f"{value:.1e}") for peer, value in row.differences.items()},
                "floor ms": round(floor, 1),
            }
        )
        columns = (f"{each[peer]:14.0f}{ratios[peer]:7.2f}" if peer in each else f"{'–':>14}{'–':>7}" for peer in PEERS)
        print(f"{name:<33}{each['jaxviz']:8.0f}{''.join(columns)}{floor:8.0f}", flush=True)
    tensorflow = importlib.metadata.packages_distributions()["tensorflow"][0]  # tensorflow or tensorflow-cpu
    print(write("attribution", {"rows": rows}, ("keras", tensorflow, "tf-explain", "tf-keras-vis")))


if __name__ == "__main__":
    main()
