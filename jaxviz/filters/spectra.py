"""What the filters of a layer do on ordinary images: their scores at percentiles of the images.

spectra(found) -> Spectra
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy.typing import ArrayLike

from jaxviz.errors import InputError
from jaxviz.filters.responses import positions
from jaxviz.filters.top_images import TopImages, check_found
from jaxviz.results import brief

__all__ = ["Spectra", "spectra"]

PERCENTILES = (50, 60, 70, 80, 90, 95, 99, 100)


class Spectra(NamedTuple):
    """The score of each filter at percentiles of the images, and an image that has it.

    Attributes:
        score: `score[i, j]` of filter i: so many per cent of the images, `percentile[j]`, have this score or less.
        image: the number of an image with this score.
        position: the position of the layer at which the filter is highest there.
        percentile: those that were asked for.
        error: how exact they are, in percentiles: the standard error, from the size of the sample. 0 where all images
            were counted.
    """

    score: Float[np.ndarray, "filters q"]
    image: Int[np.ndarray, "filters q"]
    position: Int[np.ndarray, "filters q axes"]
    percentile: Float[np.ndarray, " q"]
    error: Float[np.ndarray, " q"]

    def __repr__(self) -> str:
        return brief(self)


def spectra(found: TopImages, percentiles: ArrayLike = PERCENTILES) -> Spectra:
    """The `Spectra` of a layer: the score of each filter at percentiles of the images that `top_images` went through.

    The highest images say what a filter can do, and the others what it does: many filters that look like detectors of
    one thing are excited by other things at the 90th percentile. 100 is the highest image of all. The others are exact
    for up to 2048 images; of more, they are those of a sample of 2048, whose standard error is `error`:
    √(q (100 − q) / 2048), which is 1.1 percentiles at the median and 0.22 at the 99th.

    Args:
        found: the result of `top_images`.
        percentiles: from 0 to 100.

    Raises:
        InputError: no result of `top_images`, no percentiles, or one outside 0 to 100.

    Source: Olah et al. 2020, Zoom In: an introduction to circuits (the spectrum of dataset examples).
    """
    check_found(found)
    try:
        q = np.asarray(percentiles, np.float64)
    except (TypeError, ValueError):
        q = np.full(1, np.nan)
    if q.ndim != 1 or q.size == 0 or not ((q >= 0) & (q <= 100)).all():
        raise InputError(f"percentiles are numbers from 0 to 100, such as [50, 90, 99]; given: {percentiles!r}")
    sample = found.sample
    count = len(sample.draw)
    # The least score that so many images do not exceed (Hyndman & Fan 1996, definition 1), so that an image has it.
    rank = np.maximum(np.ceil(q / 100 * count).astype(int) - 1, 0)
    row = np.argsort(sample.score, axis=0, kind="stable")[rank].T  # [filters q]
    score, place = (np.take_along_axis(each.T, row, 1) for each in (sample.score, sample.place))
    image, position = sample.image[row], positions(place, found.shape)
    highest = q == 100
    score[:, highest], image[:, highest] = found.score[:, :1], found.image[:, :1]
    position[:, highest] = found.position[:, :1]
    error = np.sqrt(q * (100 - q) / count) if found.seen > count else np.zeros_like(q)
    return Spectra(score, image, position, q, error)
