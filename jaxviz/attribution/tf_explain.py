"""tf-explain's definitions on this engine, for its users and for comparisons with its maps.

    tf_explain.core                    jaxviz.tf_explain                 in short
    VanillaGradients                   vanilla_gradients                 |gradient|, summed over colours
    GradientsInputs                    gradients_inputs                  |input_x_gradient|, summed
    SmoothGrad(num_samples, noise)     smooth_grad(samples=, noise=)     |smooth gradient of the cross-entropy|, summed
    IntegratedGradients(n_steps)       integrated_gradients(steps=)      |mean gradient|, summed: not times the way
    OcclusionSensitivity(patch_size)   occlusion_sensitivity(window=)    1 - confidence, not the loss of the score
    GradCAM(layer_name)                grad_cam(layer=)                  guided, without ReLU
    ExtractActivations(layers_name)    extract_activations(layer)        grey, one range for all channels

In tf-explain, `explain((images, None), model, class_index, …)` draws one grid of pictures. Here, `(model, image,
target, *, …)` returns an `Attribution` with the map `[h w]`, or `[n h w]` for a batch: the numbers that tf-explain
makes its picture of.

Units: here those of images in [0, 1], in tf-explain those of the network's input. If the network takes 0–255, a
gradient here is 255 times tf-explain's, and its noise of 1 is 1/255 here. Its zero input is black, unless the inputs
are centred: then it is their mean, which has to be given as `baseline`.

Targets: a class number or name. SmoothGrad explains the cross-entropy. Integrated gradients, occlusion and Grad-CAM
explain the output as it is, so a saturated softmax makes their maps all zero. A head of one sigmoid unit has the
classes 0 and 1 here; tf-explain's `class_index=0` is class 1.

tf-explain does some things by accident, and they are different here: it standardises the maps of one batch together and
casts them to uint8 with their negative values; overlays of float images in 0–255 wrap around; occlusion of an oblong
image exchanges rows and columns; the fill is 127.5 whatever the range; where the softmax is no layer of its own,
VanillaGradients warns and takes the gradient of the probability (here: of the value before it); the cross-entropy of a
single unit is always zero; a constant picture is 0/0.

Source: tf-explain 0.3.1, https://github.com/sicara/tf-explain.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Key, UInt8
from numpy.typing import ArrayLike

from jaxviz.attribution import cams, gradients, perturbation, smoothing
from jaxviz.attribution.explain import BATCH, STILL, Array, Attribution, answer_each, ask
from jaxviz.attribution.layer_maps import Layers
from jaxviz.checks import PixelValues, image_like, lengths, whole
from jaxviz.errors import InputError
from jaxviz.forward_pass import activations
from jaxviz.model import Model
from jaxviz.objectives import Objective, Scaled, class_score, probabilities
from jaxviz.structure import picture_shape
from jaxviz.targets import Target, class_index, is_several


def vanilla_gradients(model: Model, image: ArrayLike, target: Target, *, batch: int = BATCH) -> Attribution:
    """An `Attribution` with a map `[h w]`: the magnitude of `jv.gradient`, summed over colours.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        batch: images computed at a time.

    Raises:
        InputError: an unknown class, an image of another shape or outside [0, 1].
    """
    return _summed(model, image, gradients.gradient(model, image, target, batch=batch))


def gradients_inputs(
    model: Model, image: ArrayLike, target: Target, *, baseline: PixelValues = 0.0, batch: int = BATCH
) -> Attribution:
    """An `Attribution` with a map `[h w]`: the magnitude of `jv.input_x_gradient`, summed over colours.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each.
        baseline: the values that count as nothing, in the image's units: a number, a colour [c] or an image [h w c].
        batch: images computed at a time.

    Raises:
        InputError: an unknown class, an image of another shape or outside [0, 1], or a
            baseline of another shape.
    """
    found = gradients.input_x_gradient(model, image, target, baseline=baseline, batch=batch)
    return _summed(model, image, found)


def smooth_grad(
    model: Model,
    image: ArrayLike,
    target: Target,
    *,
    noise: float | int,
    samples: int = 5,
    key: Key[jax.Array, "*n"] | None = None,
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with a map `[h w]`: the magnitude of the smoothed gradient of the cross-entropy, summed.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, one for all images.
        noise: the standard deviation of the noise, in the image's units; tf-explain's default is 1 in the network's.
        samples: noisy copies of each image, each one gradient.
        key: of the noise, folded with each sample's position: one for all images, which get the same noise then, or one
            for each; default `jax.random.key(0)`.
        batch: images computed at a time.

    Raises:
        InputError: an unknown class, a target that is no class, an image of another shape or outside [0, 1], or a
            negative noise.
    """
    if is_several(target):
        raise InputError(f"smooth_grad explains one class for all images, by its number or name; given: {target!r}")
    images, loss = model.check_images(image), _each(cross_entropy, model, target)

    def gradient(copies: Array) -> Attribution:
        return gradients.gradient(model, copies, loss, batch=batch)

    axes = len(model.image_shape)
    found = smoothing.smooth(gradient, images, key=key, samples=samples, noise=noise, axes=axes)
    return _summed(model, images, found)


def integrated_gradients(
    model: Model, image: ArrayLike, target: Target, *, steps: int = 10, baseline: PixelValues = 0.0, batch: int = BATCH
) -> Attribution:
    """An `Attribution` with a map `[h w]`: the magnitude of the mean gradient on the path from `baseline`, summed.

    Both ends of the straight path are included. Without the factor `image - baseline` the values are no shares of the
    score; those of `jv.integrated_gradients` are.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name; for a batch, one for all or a list with one for each.
        steps: points on the path, two at least, each one gradient.
        baseline: the start of the path, in the image's units: a number, a colour [c] or an image [h w c].
        batch: points in one compiled call.

    Raises:
        InputError: an unknown class, a target that is no class, an image of another shape or outside [0, 1], too few
            steps, or a baseline of another shape.
    """
    points, weights = np.linspace(0, 1, whole("steps", steps, 2)), np.full(steps, 1 / steps)

    question = ask(model, image, _each(confidence, model, target))
    start = image_like("a baseline", baseline, question.images.shape[1:])

    def one(image: Array, objective: Objective, _: int) -> tuple[Attribution, str]:
        mean, scores = gradients.path_gradient(model, image, start, objective, points, weights, batch)
        return _summed(model, image, Attribution(values=mean, score=scores[-1])), STILL

    return answer_each(question, one)


def occlusion_sensitivity(
    model: Model,
    image: ArrayLike,
    target: Target,
    *,
    window: int | Sequence[int],
    fill: PixelValues = 0.5,
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with a map `[h w]`: 1 - confidence in the class when a window over the pixel is filled.

    One value for each window, enlarged bilinearly.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name; for a batch, one for all or a list with one for each.
        window: height and width in pixels, or one number; tf-explain's `patch_size`, which is also its stride. A window
            that the edge cuts is enlarged as if it were whole.
        fill: the values that hide a window, in the image's units; 0.5 is tf-explain's 127.5 of 255.
        batch: windows in one compiled call.

    Raises:
        InputError: an unknown class, a target that is no class, an image of another shape or outside [0, 1], a window
            larger than the image, or a fill of another shape.
    """
    wanted = _each(confidence, model, target)
    found = perturbation.occlusion(model, image, wanted, window=window, fill=fill, batch=batch)
    score = np.asarray(found.score)
    places = found.values.ndim - score.ndim
    every: tuple[Any, ...] = tuple(slice(None, None, step) for step in lengths("window", window, places))
    missing = 1 - score.reshape(*score.shape, *(1 for _ in every)) + np.asarray(found.values)[(Ellipsis, *every)]
    return found._replace(values=np.asarray(jax.image.resize(missing, found.values.shape, "bilinear")))


def grad_cam(
    model: Model, image: ArrayLike, target: Target, *, layer: Layers = None, guided: bool = True, batch: int = BATCH
) -> Attribution:
    """An `Attribution` with a map `[h w]`: Grad-CAM without ReLU, with the positive gradients of positive activations.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name; for a batch, one for all or a list with one for each.
        layer: the layer whose maps are weighed; None: the last convolution. tf-explain takes the last layer with maps,
            which may be a pooling.
        guided: tf-explain's `use_guided_grads`; False weighs with all gradients, as Grad-CAM does.
        batch: images computed at a time.

    Raises:
        InputError: an unknown class, a target that is no class, an image of another shape or outside [0, 1], an unknown
            layer, or a layer without maps `[h w k]`.
    """
    weigh = _guided if guided else cams.weigh_grad_cam
    return cams.cam(model, image, _each(confidence, model, target), weigh=weigh, layer=layer, relu=False, batch=batch)


def _guided(activation: jax.Array, gradient: jax.Array) -> jax.Array:
    return cams.weigh_grad_cam(activation, jnp.where((activation > 0) & (gradient > 0), gradient, 0))


def extract_activations(
    model: Model, image: ArrayLike, layer: str, *, batch: int = 32
) -> UInt8[np.ndarray, "*n height width"]:
    """A square of grey pictures, the channels of a layer. Black is the lowest value of all, or the 0 of an empty cell.

    For a batch it is a square for each image, with a range of its own; tf-explain draws one square of all images.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the result keeps.
        layer: a layer with maps `[h w c]`.
        batch: images computed at a time.

    Raises:
        InputError: an unknown layer or one without maps, or an image of another shape or outside [0, 1].
    """
    values = activations(model, image, layer, batch=batch)[layer]
    many = values.shape[: np.ndim(image) - len(model.image_shape)]
    if values.ndim != len(many) + 3:
        raise InputError(f"a grid needs a layer with maps [h w c]; given: {layer}, {list(values.shape)}")
    height, width, count = values.shape[-3:]
    side = math.isqrt(count - 1) + 1
    cells = np.zeros((*many, side, height, side, width), np.float32)
    for row in range(side):
        some = values[..., row * side : (row + 1) * side]
        cells[..., row, :, : some.shape[-1], :] = np.moveaxis(some, -1, -2)
    grid = cells.reshape(*many, side * height, side * width)
    low, high = grid.min((-2, -1), keepdims=True), grid.max((-2, -1), keepdims=True)
    grid -= low  # in place: most of the time goes into new memory
    grid /= np.where(high > low, high - low, 1)
    grid *= 255
    return grid.astype(np.uint8)


@struct.dataclass
class Confidence(Objective):
    """The output of the network for a class: its probability where the network ends in a softmax or sigmoid."""

    layer: str = struct.field(pytree_node=False)
    binary: bool = struct.field(pytree_node=False)
    index: Any

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        return probabilities(jnp.asarray(activations[self.layer]), self.binary)[self.index]


@struct.dataclass
class CrossEntropy(Scaled):
    """Minus the logarithm of the probability of a class, from its `class_score`.

    The probability is the softmax of all units, or the sigmoid of the score where there is one unit.
    """

    def __call__(self, activations: Mapping[str, Any]) -> jax.Array:
        score, units = super().__call__(activations), activations[self.layers[0]]
        return jax.nn.softplus(-score) if units.size == 1 else jax.nn.logsumexp(units) - score


def confidence(model: Model, target: Target) -> Confidence:
    return Confidence(layer=model.output, binary=model.is_binary, index=class_index(model, target))


def cross_entropy(model: Model, target: Target) -> CrossEntropy:
    score = class_score(model.scores, class_index(model, target), model.is_binary)
    return CrossEntropy(factor=score.factor, objective=score.objective)


def _each(objective: Callable[[Model, Target], Objective], model: Model, target: Target) -> Any:
    """The objective of a class; for several targets, a list with one for each."""
    if is_several(target):
        return [_each(objective, model, one) for one in target]
    own = isinstance(target, Objective) or callable(target)
    if own and objective is confidence and len(model.shapes(names=[model.scores])[model.scores]) != 1:
        return target  # of a network without classes, such as a U-Net
    if target is None or own:
        raise InputError(f"tf-explain explains a class, by its number or name; given: {target!r}")
    return objective(model, target)


def _summed(model: Model, image: ArrayLike, found: Attribution) -> Attribution:
    """The magnitudes of the values, summed over the channels that the images have, if any."""
    batch = np.ndim(image) - len(model.image_shape)
    picture = picture_shape(model, np.shape(image)[batch:-1])
    return found._replace(values=np.abs(found.values).reshape(*np.shape(image)[:batch], *picture).sum(-1))
