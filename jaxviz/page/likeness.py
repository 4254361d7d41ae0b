"""Which filters of a layer are alike: those whose weights, or whose pictures, point in one direction.

    nearest(features [n f], among [n]) -> for each filter, the numbers of those most alike, and how alike they are
    texture(picture [h w 3])           -> features [f] of a picture

Law: likeness is a cosine. It is 1 for equal weights up to a positive factor, and for a picture that is only shifted.
"""

import numpy as np
from jaxtyping import Bool, Float32, UInt8

from jaxviz.rendering.images import resize

BLOCK = 256  # filters that are compared with all others at a time: the table of all pairs is never in memory
BINS = 16  # of a spectrum along each axis: coarse enough for a pattern to match itself at nearly the same frequency

# Lightness, red against green, and yellow against blue: what two pictures of one pattern in other colours differ in.
OPPONENT = np.array([[1, 1, 1], [1, -1, 0], [0.5, 0.5, -1]], np.float32) / 3


def nearest(
    features: Float32[np.ndarray, "n f"], among: Bool[np.ndarray, " n"], count: int = 6
) -> list[list[tuple[int, float]]]:
    """For each row of features, the other rows of highest cosine to it, the highest first, with their cosines.

    Args:
        features: a row for each filter.
        among: which filters are compared. The others are alike to none.
        count: how many are found for each.
    """
    members = np.flatnonzero(among)
    lengths = np.sqrt(np.einsum("nf,nf->n", features, features))
    scale = 1 / np.where(lengths > 0, lengths, 1)  # a row of zeros has the cosine 0 to all
    found: list[list[tuple[int, float]]] = [[] for _ in features]
    for start in range(0, len(members), BLOCK):
        block = members[start : start + BLOCK]
        cosines = (features[block] @ features.T) * scale[block, None] * scale
        cosines[:, ~among] = -np.inf
        cosines[np.arange(len(block)), block] = -np.inf  # itself
        order = np.argsort(-cosines, axis=1, kind="stable")[:, : min(count, len(members) - 1)]
        for row, i, others in zip(cosines, block.tolist(), order, strict=True):
            found[i] = [(int(j), float(np.clip(row[j], -1, 1))) for j in others]
    return found


def texture(picture: UInt8[np.ndarray, "h w 3"]) -> Float32[np.ndarray, " f"]:
    """Features of a picture's colours and patterns, whatever their place: its mean colour, and its spectrum in bins.

    The square root of an amplitude keeps the few strongest frequencies from deciding alone.
    """
    colours = picture.astype(np.float32) / 255 @ OPPONENT.T
    mean = colours.mean((0, 1))
    amplitudes = np.abs(np.fft.fft2(colours - mean, axes=(0, 1))) / colours[..., 0].size
    spectrum = resize(np.fft.fftshift(np.sqrt(amplitudes), axes=(0, 1)), BINS)
    half = spectrum[: BINS // 2]  # the other half is the same, mirrored
    return np.concatenate([mean / np.sqrt(len(mean)), half.ravel() / np.sqrt(half.size)]).astype(np.float32)
