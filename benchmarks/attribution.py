"""Claim: attributions and activations take less time than in tf-explain, tf-keras-vis and captum.

    python benchmarks/attribution.py

All have the same real weights (a classifier on VGG16 at 240 × 240), the same photograph and the same work, each in a
process of its own, in turn. tf-explain and tf-keras-vis explain a Keras model on TensorFlow; captum explains a network
in PyTorch, channels last. Each peer is called as it documents, in one batch or image by image, whichever is faster,
with its own `tf.function` or `predict`. A time includes the computation of the numbers. It does not include work that
is done once (building a model, compiling), nor work on the numbers afterwards (normalising, pictures); the one
exception is the row of pictures, which is the time that a user of tf-explain waits. The answers are compared before any
time is printed:

    SmoothGrad    the mean of 20 gradients. For the comparison we take the gradient on the peer's noisy copies;
                  tf-explain's gradient is of the cross-entropy
    integrated    the points are those of captum's right-hand rule. tf-explain takes our path and leaves out the factor
                  image − baseline, which we multiply in; its own path has as many points
    occlusion     the loss of the score in each of 25 windows, filled with tf-explain's 127.5. tf-explain returns
                  1 − score of each window, enlarged. Everybody also runs the whole image
    Grad-CAM      the maps of 8 images. We leave out ReLU for tf-explain. The other peers' maps are compared before
                  they are enlarged
    activations   block3_conv1 of 8 images; as pictures: by `explain()`, which builds its model anew at each call
    Score-CAM     at block1_conv2, one forward pass for each of its 64 channels (block5_conv3 has 512). Both explain
                  log p, and both are Σ activation · p up to a factor, so each is divided by its sum

The difference is the norm of the difference over the norm of our answer. Where the input of a ReLU or a pool is within
rounding of a tie, the two sides may decide it differently, and a few pixels of a gradient differ with it.
"""

import os
import warnings

import numpy as np
import peers
from common import OURS, Limits, contenders, difference, options, race, row, write

SIZE, SAMPLES, NOISE, WINDOW, FILL, IMAGES = 240, 20, 0.15, 48, 127.5, 8
LAST, MIDDLE, EARLY = "block5_conv3", "block3_conv1", "block1_conv2"
CHANNELS = 64  # of EARLY

# The work that is timed → the ratio that each peer should reach at least.
ROWS = {
    f"SmoothGrad, {SAMPLES} samples": {"tf-explain": 1.1, "tf-keras-vis": 2.2},
    f"integrated gradients, {SAMPLES} steps": {"tf-explain": 1.1},
    f"occlusion, {WINDOW} × {WINDOW}": {"tf-explain": 2},
    f"Grad-CAM, {IMAGES} images": {"tf-explain": 3},
    f"activations, {IMAGES} images": {"tf-explain": 1.3},
    "the same, as pictures": {},
    f"Score-CAM, {CHANNELS} channels": {},
}
SMOOTH, INTEGRATED, OCCLUSION, GRAD_CAM, ACTIVATIONS, PICTURES, SCORE_CAM = ROWS


# Each returns `run(method, *arguments)`; `run("methods")` returns the names of its rows. Where the answer that is
# compared is not the one that is timed, a method named `check …` returns it.


def jaxviz(weights, images, target):
    import jaxviz as jv
    from jaxviz.attribution.tf_explain import CrossEntropy, extract_activations
    from jaxviz.model import out_of_range

    model, image = jv.load("vgg16_tumor"), images[0]
    cross_entropy = CrossEntropy(1.0, jv.Unit(model.scores, target))

    def gradient(x):
        return jv.gradient(model, x, target)

    def mean_gradient(copies, of_cross_entropy):
        with out_of_range():
            return jv.gradient(model, copies, cross_entropy if of_cross_entropy else target).values.mean(0)

    def occlusion():
        found = jv.occlusion(model, image, target, window=WINDOW, fill=FILL)
        return found.values, found.score

    return peers.named(
        {
            SMOOTH: lambda: jv.smooth(gradient, image, samples=SAMPLES, noise=NOISE).values,
            f"check {SMOOTH}": mean_gradient,
            INTEGRATED: lambda: jv.integrated_gradients(model, image, target, steps=SAMPLES, rule="right").values,
            OCCLUSION: occlusion,
            GRAD_CAM: lambda: jv.grad_cam(model, images, target, layer=LAST).values,
            f"check {GRAD_CAM}": lambda: jv.grad_cam(model, images, target, layer=LAST, relu=False).values,
            ACTIVATIONS: lambda: jv.activations(model, images, MIDDLE)[MIDDLE],
            PICTURES: lambda: extract_activations(model, images, MIDDLE),
            f"check {PICTURES}": lambda: extract_activations(model, image, MIDDLE),
            SCORE_CAM: lambda: jv.score_cam(model, image, -cross_entropy, layer=EARLY).values,
        }
    )


def in_keras(weights):
    """The classifier in Keras, with its softmax and without it."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    keras.config.disable_interactive_logging()  # the progress bars of `predict`
    warnings.filterwarnings("ignore", message="(.|\n)*The structure of `inputs`", category=UserWarning)  # of Keras 3
    layers = keras.layers
    base = keras.applications.VGG16(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3))
    x = layers.Flatten()(base.output)
    x = layers.BatchNormalization(epsilon=0)(layers.Dense(64, "relu")(x))
    x = layers.BatchNormalization(epsilon=0)(layers.Dense(128, "relu")(x))
    logits = layers.Dense(4)(layers.Dense(256, "relu")(x))
    network = keras.Model(base.inputs, layers.Softmax()(logits))
    theirs = [layer for layer in network.layers if layer.weights]
    for layer, arrays in zip(theirs, weights.values(), strict=True):
        layer.set_weights(arrays)
    return network, keras.Model(network.inputs, logits)


def tf_explain(weights, images, target):
    network, logits = in_keras(weights)
    from tf_explain import core

    image = images[:1]
    smooth, integrated, occlusion, gradcam = (
        core.SmoothGrad(),
        core.IntegratedGradients(),
        core.OcclusionSensitivity(),
        core.GradCAM(),
    )
    activations = core.ExtractActivations(batch_size=IMAGES)
    extractor = core.ExtractActivations.generate_activations_graph(network, [MIDDLE])

    def smoothgrad():
        copies = smooth.generate_noisy_images(image, SAMPLES, NOISE)
        return smooth.get_averaged_gradients(copies, network, target, SAMPLES).numpy()

    def gradients_on(path):
        return integrated.get_integrated_gradients(path, logits, target, SAMPLES).numpy()

    def grad_cam():
        found = gradcam.get_gradients_and_filters(logits, images, LAST, target, use_guided_grads=False)
        return np.stack(gradcam.generate_ponderated_output(*found))

    return peers.named(
        {
            SMOOTH: smoothgrad,
            f"check {SMOOTH}": lambda: _on_numpys_copies(image, smoothgrad),
            INTEGRATED: lambda: gradients_on(integrated.generate_interpolations(image, SAMPLES)),
            f"check {INTEGRATED}": gradients_on,
            OCCLUSION: lambda: occlusion.get_sensitivity_map(logits, image[0], target, WINDOW),
            GRAD_CAM: grad_cam,
            ACTIVATIONS: lambda: extractor.predict(images, batch_size=IMAGES),
            PICTURES: lambda: activations.explain((images, None), network, [MIDDLE]),
            f"check {PICTURES}": lambda: activations.explain(
                (image, None), network, [MIDDLE]
            ),  # many images would become one grid
        }
    )


def tf_keras_vis(weights, images, target):
    _, logits = in_keras(weights)
    from tf_keras_vis.gradcam import Gradcam
    from tf_keras_vis.saliency import Saliency
    from tf_keras_vis.scorecam import Scorecam
    from tf_keras_vis.utils.scores import CategoricalScore

    image, score = images[:1], CategoricalScore(target)
    saliency, gradcam, scorecam = Saliency(logits), Gradcam(logits), Scorecam(logits)
    raw = {"keepdims": True, "gradient_modifier": None, "normalize_map": False}
    noise = NOISE / (image.max() - image.min())

    def smoothgrad():
        return np.asarray(saliency(score, image, smooth_samples=SAMPLES, smooth_noise=noise, **raw))[0]

    def grad_cam(expand):
        return np.asarray(gradcam(score, images, penultimate_layer=LAST, expand_cam=expand, normalize_cam=False))

    return peers.named(
        {
            SMOOTH: smoothgrad,
            f"check {SMOOTH}": lambda: _on_numpys_copies(image, smoothgrad),
            GRAD_CAM: lambda: grad_cam(True),
            f"check {GRAD_CAM}": lambda: grad_cam(False),
            SCORE_CAM: lambda: np.asarray(scorecam(score, image, penultimate_layer=EARLY, normalize_cam=False))[0],
        }
    )


def _on_numpys_copies(image, smoothgrad):
    """The noisy copies that the peer draws from the same seed, and its map for them."""
    np.random.seed(0)
    copies = np.float32(image + np.random.normal(0, NOISE, (SAMPLES, *image.shape[1:])))
    np.random.seed(0)
    return copies, smoothgrad().reshape(image.shape[1:])


def captum(weights, images, target):
    import torch
    from captum import attr

    base = peers.in_torch(weights, "block5_pool")
    head = [torch.nn.Flatten()]
    for name, arrays in weights.items():
        if name.startswith("block"):
            continue
        tensors = [torch.tensor(array) for array in arrays]
        if len(tensors) == 4:
            layer = torch.nn.BatchNorm1d(len(tensors[0]), eps=0)
            values = dict(zip(("weight", "bias", "running_mean", "running_var"), tensors, strict=True))
        else:
            layer, values = torch.nn.Linear(*tensors[0].shape), {"weight": tensors[0].T, "bias": tensors[1]}
        layer.load_state_dict(values, strict=False)
        head += [layer] if len(tensors) == 4 else [layer, torch.nn.ReLU()]
    head = (
        torch.nn.Sequential(*head[:-1]).eval().requires_grad_(False)
    )  # the last activation function is a softmax, which is left out

    def network(x):
        return head(base(x).permute(0, 2, 3, 1))  # Keras flattens images with the channels last

    image, several, back = peers.to_torch(images[:1]), peers.to_torch(images), peers.from_torch
    layer_of = dict(zip(peers.order(weights, "block5_pool"), peers.stages(base), strict=True))
    tunnel, path = attr.NoiseTunnel(attr.Saliency(network)), attr.IntegratedGradients(network)
    occlusion = attr.Occlusion(network)
    gradcam, activation = attr.LayerGradCam(network, layer_of[LAST]), attr.LayerActivation(network, layer_of[MIDDLE])
    window = (3, WINDOW, WINDOW)

    def smoothgrad():
        some = tunnel.attribute(
            image, nt_samples=SAMPLES, nt_samples_batch_size=1, stdevs=NOISE, target=target, abs=False
        )
        return back(some)[0]

    def check():
        torch.manual_seed(0)
        copies = [image + torch.normal(0, torch.full_like(image, NOISE)) for _ in range(SAMPLES)]
        torch.manual_seed(0)
        return back(torch.cat(copies)), smoothgrad()

    def occluded():
        how = {"strides": window, "baselines": FILL, "perturbations_per_eval": 1}
        return back(occlusion.attribute(image, window, target=target, **how))[0, ..., 0]

    return peers.named(
        {
            SMOOTH: smoothgrad,
            f"check {SMOOTH}": check,
            INTEGRATED: lambda: back(
                path.attribute(image, target=target, n_steps=SAMPLES, method="riemann_right", internal_batch_size=1)
            )[0],
            OCCLUSION: occluded,
            GRAD_CAM: lambda: back(gradcam.attribute(several, target=target))[..., 0],
            ACTIVATIONS: lambda: back(activation.attribute(several)),
        }
    )


def enlarged(maps):
    import jax

    return np.asarray(jax.image.resize(np.asarray(maps), (*maps.shape[:-2], SIZE, SIZE), "bilinear"))


def compare(method, name, ours, peer, images):
    """The difference of a peer's answer from ours."""
    check = f"check {method}"
    if method == SMOOTH:
        copies, theirs = peer(check).value
        return difference(theirs, ours(check, copies, name == "tf-explain").value)
    if method == INTEGRATED and name == "tf-explain":
        path = np.arange(1, SAMPLES + 1, dtype=np.float32)[:, None, None, None] / SAMPLES * images[:1]
        return difference(peer(check, path).value.reshape(images[0].shape) * images[0], ours(method).value)
    if method == OCCLUSION:
        (lost, score), theirs = ours(method).value, peer(method).value
        whole = name == "tf-explain"
        return difference(theirs, enlarged(1 - (score - lost[::WINDOW, ::WINDOW])) if whole else lost)
    if method == GRAD_CAM:
        theirs = peer(check if name == "tf-keras-vis" else method).value
        return difference(enlarged(theirs), ours(method if name == "tf-keras-vis" else check).value)
    if method == SCORE_CAM:
        first, second = ours(method).value, peer(method).value
        return difference(second / second.sum(), first / first.sum())
    method = check if method == PICTURES else method
    return difference(peer(method).value, ours(method).value)


WAYS = {OURS: jaxviz, "tf-explain": tf_explain, "tf-keras-vis": tf_keras_vis, "captum": captum}


def main():
    args = options(__doc__)
    import skimage.data

    import jaxviz as jv

    model = jv.load("vgg16_tumor")
    photograph = np.float32(skimage.data.chelsea()) / 255
    shifts = np.linspace(0, photograph.shape[1] - SIZE, IMAGES).astype(int)
    images = np.stack([photograph[:SIZE, left : left + SIZE] for left in shifts])
    target = int(jv.predict(model, images[0]).argmax())
    found, limits, rows = contenders(WAYS, peers.weights_of(model), images, target), Limits(), []
    limits.measure()
    whole = limits.floor(model, "block5_pool", SIZE)  # the layers after it need a thousandth of this
    part = limits.floor(model, model.layers[model.layers.index(MIDDLE) + 1], SIZE)
    floors = dict(zip(ROWS, (2 * SAMPLES, 2 * SAMPLES, (SIZE // WINDOW) ** 2, IMAGES, 0, 0, CHANNELS), strict=True))
    methods = {name: contender("methods").value for name, contender in found.items()}
    for method, wanted in list(ROWS.items())[4:5] if args.quick else ROWS.items():
        able = {name: contender for name, contender in found.items() if method in methods[name]}
        differences = {
            name: compare(method, name, found[OURS], peer, images) for name, peer in able.items() if name != OURS
        }
        for name, contender in able.items():
            if name == OURS or (
                f"check {method}" in methods[name] and method != SMOOTH
            ):  # the others have just been called by `compare`
                contender(method)
        rows.append(
            row(
                method,
                race(able, method, rounds=1 if args.quick else args.rounds),
                differences=differences,
                floor=floors[method] * whole or IMAGES * part,
                wanted=wanted,
            )
        )
    if not args.quick:
        packages = ("keras", "tensorflow", "tf-explain", "tf-keras-vis", "torch", "captum")
        print(write("attribution", {"claim": "ms of a method on VGG16 at 240²", "rows": rows}, packages))


if __name__ == "__main__":
    main()
