"""The mean Fourier magnitude of photographs, the default of `jaxviz.MaCo`: jaxviz/ascent/canvases/photographs.npz.

    python tests/golden/make_maco.py

The photographs are those in the wheel of scikit-image 0.26 that are in colour, show things as a camera sees them, and
may be used by everyone, as `skimage/data/_fetchers.py` says of each: astronaut (NASA, "released into the public
domain"), chelsea ("CC0 by the photographer (Stefan van der Walt)"), coffee ("CC0 by the photographer (Rachel
Michetti)") and rocket (SpaceX, "released in the public domain"). Each is cut into squares of 64 pixels, at full size
and at half size, and each square also counts mirrored, so that left and right are alike. The file holds the mean
magnitude of all frequencies, `[3 64 64]`, in Lucid's independent channels before the sigmoid.
"""

from pathlib import Path

import numpy as np
import skimage.data

import jaxviz as jv

NAMES = ("astronaut", "chelsea", "coffee", "rocket")
SIDE = 64
FILE = Path(jv.__file__).parent / "ascent" / "canvases" / "photographs.npz"


def squares():
    """Squares `[64 64 3]` of the photographs, one at a time."""
    for name in NAMES:
        full = getattr(skimage.data, name)().astype(np.float32) / 255
        rows, columns = (2 * (side // 2) for side in full.shape[:2])
        half = full[:rows, :columns].reshape(rows // 2, 2, columns // 2, 2, 3).mean((1, 3))
        for image in (full, half):
            for top in range(0, image.shape[0] - SIDE + 1, SIDE):
                for left in range(0, image.shape[1] - SIDE + 1, SIDE):
                    square = image[top : top + SIDE, left : left + SIDE]
                    yield square
                    yield square[:, ::-1]


def magnitude() -> np.ndarray:
    """The mean magnitude of all frequencies, `[3 64 64]`, each divided by 64 so that it fits into float16."""
    half = jv.mean_magnitude(squares(), (SIDE, SIDE)) / SIDE
    # A real image has the same magnitude at a frequency and at minus that frequency.
    mirrored = np.roll(half[:, ::-1, 1:-1][:, :, ::-1], 1, 1)
    return np.concatenate([half, mirrored], 2)


if __name__ == "__main__":
    np.savez_compressed(FILE, magnitude=magnitude().astype(np.float16))
