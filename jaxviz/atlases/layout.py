"""What an atlas is on disk: a Zarr group.

    atlas.zarr/           the attribute "jaxviz_atlas" of this group is the manifest
      files               uint8 [bytes]     names of the photographs, as JSON; only if there are photographs
      0000/               one group a layer, numbered; its attributes have its name, kind, position, filters, …
        image             uint8 [n h w 3]   the picture, as the recipe's source shows it
        exact             uint8 [n h w c]   the image itself, clipped to [0, 1]
        scores            float32 [n steps] the objective before each step
        robust            float32 [n]       the held score of the picture; only if it was asked for
        latent            float32 [n …]     what was climbed; only if it was asked for
        weights           float32 [n d]     the kernel of each filter in few numbers; only if the layer has kernels
        fate              uint8 [n]         see `FATES`: the marker, written last
        crops/            only if there are photographs, with a marker `fate` of its own
          image           uint8 [n k h w 3] the parts of photographs that excite the filter most
          score           float32 [n k]
          file            int32 [n k]       numbers of `files`

Law: the name of a layer or a file is a value in the store, never a part of a path in it.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

FORMAT = 1
MANIFEST = "jaxviz_atlas"
ENTRIES = ("model", "recipe", "layers")  # of a manifest, without which nothing can be shown
FATES = ("missing", "climbed", "dead", "lost")  # dead: the image did not move; lost: it ended in NaN or infinity
MISSING, CLIMBED, DEAD, LOST = range(4)
MARKER = "fate"


class Kind(NamedTuple):
    """What an array holds for one filter."""

    shape: tuple[int, ...]
    dtype: str


class Part(NamedTuple):
    """A group of arrays that are written together: a layer, or its crops."""

    path: str
    filters: int
    arrays: Mapping[str, Kind]
    attributes: Mapping[str, Any]


def of_layer(number: int) -> str:
    return f"{number:04d}"


def of_crops(number: int) -> str:
    return f"{of_layer(number)}/crops"
