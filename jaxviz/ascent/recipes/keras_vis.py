"""The ascent of tf-keras-vis: pixels, moved a little at each step, and a price on total variation and brightness."""

import optax
from jax.tree_util import Partial
from numpy.typing import ArrayLike

from jaxviz.ascent import transforms
from jaxviz.ascent.canvases.pixels import Pixels
from jaxviz.ascent.recipes.style import Recipe, canvas_size, length, styled
from jaxviz.regularizers import L1, TotalVariation

# Its regularizers are of pixels of 0–255: a mean in [0, 1] counts 255 times.
PENALTY = 255 * 1.0 * TotalVariation() + 255 * 0.3 * L1()


@styled(size=128, penalty=PENALTY)
def tf_keras_vis(
    *, size: int | tuple[int, ...] = 224, steps: int = 200, step: float | int = 1.0, start: ArrayLike | None = None
) -> Recipe:
    """The defaults of tf-keras-vis' `ActivationMaximization`, as arguments of `sweep`: RMSprop on pixels.

    Before each step, the image is rolled by up to 4 pixels and turned by up to 1 degree. tf-keras-vis changes the image
    itself, so that turns add up, and all images of a batch in the same way; here each step and each image has its own
    draw, and the finished image is not turned. tf-keras-vis subtracts two regularizers from the objective, which
    `sweep` is given with it: `objective - recipes.RECIPES["tf_keras_vis"].penalty`.

    Args:
        size: of the image, in pixels. For a signal `(t,)` and a volume `(d, h, w)`, the transform is the roll alone.
        steps: how many steps.
        step: the learning rate, in 0–255 units.
        start: images `[n h w c]` in [0, 1]; else noise from the key, between 0 and 1.

    Raises:
        InputError: a size below 1, or a step that is not above 0.

    Source: tf-keras-vis 0.8, activation_maximization/__init__.py, the defaults of `__call__`.
    """
    sides = canvas_size(size)
    # Keras' epsilon, 1e-7, is added to the mean square of a gradient in 0–255 units, which is 255² times smaller.
    optimizer = Partial(optax.rmsprop, learning_rate=length(step) / 255, decay=0.999, eps=255**2 * 1e-7)
    roll, turn = transforms.Roll(4), transforms.Affine(degrees=1.0, fill=None)
    transform = transforms.Chain((roll, turn)) if len(sides) == 2 else roll
    return {
        "canvas": Pixels(sides, 0.0, 1.0),
        "transform": transform,
        "optimizer": optimizer,
        "steps": steps,
        "start": start,
    }
