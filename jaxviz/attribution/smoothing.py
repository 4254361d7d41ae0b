"""Smoothing: any attribution, averaged over noisy copies of the image.

    smooth(explain, image, samples=1, noise=0) == explain(image)

The noise may leave [0, 1], so it is switched off for the copies that images must lie in [0, 1] (`model.out_of_range`).
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jaxtyping import Key
from numpy.typing import ArrayLike

from jaxviz.attribution.explain import BATCH, STILL, Array, Attribution, answer_each, ask, key_of_draw, keys_of_images
from jaxviz.attribution.gradients import gradients
from jaxviz.checks import finite, whole
from jaxviz.compiling.batches import chunks, stacked
from jaxviz.compiling.draws import drawn
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError
from jaxviz.model import Model, check_values, out_of_range
from jaxviz.objectives import Objective
from jaxviz.targets import Target

__all__ = ["smooth", "smoothgrad"]

FORMS = ("mean", "squared", "variance")


def smoothgrad(
    model: Model,
    image: ArrayLike,
    target: Target = None,
    *,
    key: Key[jax.Array, "*n"] | None = None,
    samples: int = 25,
    noise: float | int = 0.15,
    batch: int = BATCH,
) -> Attribution:
    """An `Attribution` with values `[h w c]`: the gradient of the score, averaged over noisy copies of the image.

    `smooth` of `gradient`, with the target None decided once, on the image without noise.

    Args:
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        target: a class number or name, an Objective, or None for the class that the network decides for; for a
            batch, one for all or a list with one for each. Classes are explained before their softmax or sigmoid.
        key: of the noise, folded with each sample's position: one for all images, which get the same noise then, or one
            for each; default `jax.random.key(0)`.
        samples: noisy copies of each image, each one gradient.
        noise: the standard deviation of the noise, in the image's units.
        batch: noisy copies in one compiled call.

    Raises:
        InputError: an unknown class, an image of another shape or outside [0, 1], or a negative noise.

    Source: Smilkov et al. 2017, SmoothGrad, section 3.
    """
    samples, question = _check(samples, noise), ask(model, image, target)
    keys = keys_of_images(key, len(question.images))

    def one(image: Array, objective: Objective, position: int) -> tuple[Attribution, str]:
        def of_copies(copies: np.ndarray) -> Attribution:
            stack = jax.tree.map(lambda leaf: np.broadcast_to(leaf, (len(copies), *np.shape(leaf))), objective)
            return jax.tree.map(np.asarray, gradients(model, copies, stack)[0])

        return _smooth(of_copies, image, keys[position], samples, noise, "mean", batch), STILL

    return answer_each(question, one)


def smooth(
    explain: Callable[[np.ndarray], Any],
    image: ArrayLike,
    *,
    key: Key[jax.Array, "*n"] | None = None,
    samples: int = 25,
    noise: float | int = 0.15,
    form: str = "mean",
    axes: int = 3,
    batch: int = BATCH,
) -> Any:
    """What `explain` returns, averaged over noisy copies of the image. Any attribution can be smoothed.

        jv.smooth(lambda x: jv.gradient(model, x, 3), image)       SmoothGrad
        jv.smooth(lambda x: jv.grad_cam(model, x, 3), image)       smooth Grad-CAM

    `samples=1, noise=0` is `explain` itself. Name the target: None would be decided anew for each noisy copy.

    Args:
        explain: a function from a batch `[b h w c]` to an Attribution of as many images. Its argument may have values
            outside [0, 1].
        image: `[h w c]` in [0, 1], or a batch `[n h w c]`, whose leading axis the results keep.
        key: of the noise, folded with each sample's position: one for all images, which get the same noise then, or one
            for each; default `jax.random.key(0)`.
        samples: noisy copies of each image.
        noise: the standard deviation of the noise, in the image's units.
        form: of the values: "mean", "squared" (the mean of squares, SmoothGrad²), or "variance" (VarGrad).
        axes: of one image: 3 for `[h w c]`, 2 for a signal `[t c]` or an image `[h w]`, 4 for a volume `[d h w c]`, 1
            for a flat image. It says whether the array is one image or a batch.
        batch: noisy copies made at a time.

    Raises:
        InputError: an image outside [0, 1], an argument that is none of the above, or an `explain` that does not
            return a map for each copy.

    Source: Smilkov et al. 2017, SmoothGrad; Hooker et al. 2019 (squared); Adebayo et al. 2018 (variance).
    """
    samples = _check(samples, noise)
    if form not in FORMS:
        raise InputError(f"a form is {', '.join(FORMS)}; given: {form!r}")
    images = check_values(np.asarray(image))
    axes = whole("axes", axes)
    if images.ndim not in (axes, axes + 1):
        raise InputError(
            f"an image has {axes} axes, and a batch one more in front; given: {list(images.shape)}. smooth knows no "
            f"network, so for one image of another kind say axes={images.ndim}: 2 for [t c] or [h w], 4 for [d h w c]"
        )
    single = images.ndim == axes
    stack = images[None] if single else images
    smoothed = [
        _smooth(explain, one, own, samples, noise, form, batch)
        for one, own in zip(stack, keys_of_images(key, len(stack)), strict=True)
    ]
    return smoothed[0] if single else stacked(smoothed)


def _check(samples: Any, noise: float | int) -> int:
    if not finite("noise", noise) >= 0:
        raise InputError(f"noise is a standard deviation, 0 or more; given: {noise}")
    return whole("samples", samples)


def _smooth(
    explain: Callable[[np.ndarray], Any],
    image: Array,
    key: jax.Array,
    samples: int,
    noise: float | int,
    form: str,
    batch: int,
) -> Any:
    """`explain` smoothed for one image `[h w c]`."""
    total: Any = None
    squares: Any = 0.0
    with out_of_range():
        for some, positions in chunks(np.arange(samples), batch, "copy"):
            found = explain(np.asarray(_noisy(image, key, some, noise)))
            if not hasattr(found, "values") or np.shape(found.values)[:1] != (len(some),):
                raise InputError(
                    f"the function that is smoothed explains a batch [{len(some)} h w c] and returns an Attribution "
                    f"with as many maps; given: {list(np.shape(getattr(found, 'values', found)))}"
                )
            # In float64: a variance is the small difference of two large numbers.
            real = len(positions)
            sums = jax.tree.map(lambda leaf, n=real: np.sum(leaf[:n], 0, np.float64), found)
            total = sums if total is None else jax.tree.map(np.add, total, sums)
            squares = squares + np.sum(np.square(found.values[:real], dtype=np.float64), 0)
    mean = jax.tree.map(lambda leaf: leaf / samples, total)
    squared = squares / samples
    values = {"mean": mean.values, "squared": squared, "variance": np.maximum(squared - mean.values**2, 0)}[form]
    return jax.tree.map(np.float32, mean._replace(values=values))


@jit()
def _noisy(image: jax.Array, key: jax.Array, numbers: jax.Array, noise: jax.Array | float | int) -> jax.Array:
    """The noisy copies of an image that have these numbers."""
    keys = jax.vmap(key_of_draw, (None, 0))(key, numbers)
    return drawn(lambda own: image + noise * jax.random.normal(own, image.shape), keys)
