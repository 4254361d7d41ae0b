"""A film of an ascent: the image that climbs, from time to time.

    film(model, objective, …) -> Ascent with a leading axis of frames

Law: the last frame is the image of `ascend`, and each frame that of an ascent that ends there.
"""

from typing import Any

import numpy as np

from jaxviz.ascent.climb import Ascent, ascend
from jaxviz.model import Model
from jaxviz.objectives import Objective

__all__ = ["film"]


def film(model: Model, objective: Objective, *, every: int = 8, **settings: Any) -> Ascent:
    """An `Ascent` whose images `[frames h w c]` are one image as it climbs, each with the scores `[steps]` until then.

        climb = jv.film(model, jv.Channel("block4_conv3", 27), **jv.recipes.lucid())
        jv.show_filters(climb, std="none", indices=climb.steps)  # a sheet of its frames, with their steps and scores
        jv.write_animation("climb.gif", (255 * climb.image).round().astype("uint8"))  # or .png, .webp

    Only the frames of this one ascent are in memory. As in each `Ascent`, `steps` are the steps that a frame has behind
    it, and its last score repeats; that of the start is the score before the first step.

    Args:
        objective: what is climbed.
        every: how many steps lie between two frames. The start is the first frame, and the end is the last.
        settings: arguments of `ascend`.

    Raises:
        InputError: as for `ascend`.
        Interrupted: on Ctrl-C.
    """
    frames: list[np.ndarray] = []
    taken: list[int] = []

    def take(positions: list[int], done: int, images: np.ndarray) -> None:
        frames.append(images[0])
        taken.append(done)

    found = ascend(model, objective, watch=take, every=every, **settings)
    steps = np.array(taken, np.int32)
    last = np.maximum(steps - 1, 0)[:, None]
    scores = found.scores[np.minimum(np.arange(found.scores.size), last)]
    return Ascent(np.stack(frames), scores, steps)
