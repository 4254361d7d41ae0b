"""Reading an atlas: one filter at a time, whatever the size of the whole.

    open_atlas(path) -> Atlas;   atlas[layer] -> AtlasLayer;   atlas[layer].image[17] -> an array

Law: what is read is what was written. Of a filter that is not finished, or whose bytes are damaged, nothing is shown:
reading it is an error. An index loads the chunk of that filter only.

Names of layers and files come from the model's file and from the file system. They are text: nothing here makes a path
of them without taking out all but letters, digits, "_", "." and "-", and the number of the layer comes first.
"""

import os
import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxviz.atlases.layout import CLIMBED, DEAD, FATES, LOST, MISSING, of_crops, of_layer
from jaxviz.atlases.store import Store
from jaxviz.atlases.values import Files, Values
from jaxviz.checks import near
from jaxviz.errors import InputError
from jaxviz.rendering import rgb
from jaxviz.rendering.images import write_image

__all__ = ["Atlas", "AtlasLayer", "open_atlas"]


def open_atlas(path: str | os.PathLike[str]) -> "Atlas":
    """The `Atlas` in a folder or at an address such as `s3://bucket/atlas.zarr`, to read. It may be unfinished.

        a = jv.open_atlas("atlas.zarr")
        a["block3_conv1"].image[17]        # of an AtlasLayer: uint8 [h w 3], read from disk now

    Raises:
        InputError: there is no atlas, or its manifest is damaged.
        ImportError: Zarr is not installed: it is in the extra "atlas".
    """
    store = Store(path)
    manifest = store.read_manifest()
    if manifest is None:
        raise InputError(f"there is no atlas at {store.path}: jv.atlas(model, path) makes one")
    return Atlas(store, manifest)


class AtlasLayer:
    """One layer of an atlas: its arrays have an entry for each filter, and are read when they are indexed.

    Attributes:
        name: a handle of the model. It comes from the model's file, so it is any text.
        kind: of the layer, such as "Conv2D"; "" if it is not known.
        position: its place in the network, its number in `model.layers`; None for what is no layer of its own.
        filters: how many there are.
        number: its place in the atlas.
        receptive_field: (size, stride, offset), each (h, w) in pixels, see `jv.receptive_field`; or None.
    """

    def __init__(self, store: Store, number: int):
        self.number = number
        self._store = store
        self._group = store.group(of_layer(number))
        try:
            said = dict(self._group.attrs)
            self.name: str = said["name"]
            self.kind: str = said["kind"]
            self.position: int | None = said["position"]
            self.filters: int = said["filters"]
            field = said["receptive_field"]
        except (KeyError, TypeError) as error:
            raise InputError(f"layer {of_layer(number)} of the atlas {store.path} is damaged: no {error}") from None
        self.receptive_field = field and tuple(tuple(field[each]) for each in ("size", "stride", "offset"))

    def __len__(self) -> int:
        return self.filters

    @cached_property
    def _fates(self) -> np.ndarray:
        return self._store.fates(of_layer(self.number))

    @property
    def done(self) -> np.ndarray:
        """bool `[n]`: the filters that are there, as of the first look at this layer; open it again for more."""
        return self._fates != MISSING

    @property
    def dead(self) -> np.ndarray:
        """bool `[n]`: the filters whose image did not move; their picture is `rgb.nothing`."""
        return self._fates == DEAD

    @property
    def lost(self) -> np.ndarray:
        """bool `[n]`: the filters whose ascent ended in NaN or infinity; their pictures are `rgb.nothing`."""
        return self._fates == LOST

    def _values(self, name: str, path: str | None = None, fates: np.ndarray | None = None) -> Values | None:
        array = self._store.array(path or of_layer(self.number), name)
        if array is None:
            return None
        what = array.path.partition("/")[2]  # such as image, or crops/image
        return Values(self._store, array, self._fates if fates is None else fates, f"{what} of {self.name}")

    def _always(self, name: str) -> Values:
        found = self._values(name)
        if found is None:
            raise InputError(f"{name} of {self.name} is missing in the atlas {self._store.path}, so it is damaged")
        return found

    @property
    def image(self) -> Values:
        """uint8 `[n h w 3]`: the pictures, as the recipe's source shows them; `rgb.nothing` for dead and lost ones."""
        return self._always("image")

    @property
    def exact(self) -> Values:
        """uint8 `[n h w c]`: the images themselves, clipped to [0, 1], in 255 steps."""
        return self._always("exact")

    @property
    def scores(self) -> Values:
        """float32 `[n steps]`: the objective before each step; NaN where an ascent is `lost`."""
        return self._always("scores")

    @property
    def robust(self) -> Values | None:
        """float32 `[n]`: the held score of each picture, see `jv.held_score`; None if the atlas was made without."""
        return self._values("robust")

    @property
    def latent(self) -> Values | None:
        """`[n …]`: what was climbed, such as Fourier coefficients; None if the atlas was made without."""
        return self._values("latent")

    @property
    def weights(self) -> np.ndarray | None:
        """float32 `[n d]`: a few numbers for the kernel of each filter, whose cosines are about those of the kernels.

        None if the layer has no kernel with one slice for each filter.
        """
        found = self._values("weights", fates=np.full(self.filters, CLIMBED, np.uint8))  # it belongs to no chunk
        return None if found is None else found[:]

    def _of_crops(self, name: str) -> Values | None:
        path = of_crops(self.number)
        return self._values(name, path, self._store.fates(path)) if "crops" in self._group else None

    @property
    def crops(self) -> Values | None:
        """uint8 `[n k h w 3]`: the parts of photographs that excite each filter most, the highest first; or None."""
        return self._of_crops("image")

    @property
    def crop_scores(self) -> Values | None:
        """float32 `[n k]`: the largest activation of each filter in these photographs; None without photographs."""
        return self._of_crops("score")

    @property
    def crop_files(self) -> "Files | None":
        """The names of these photographs: `crop_files[17]` is a list of k; None without photographs."""
        numbers = self._of_crops("file")
        return None if numbers is None else Files(numbers, self._store)

    def __repr__(self) -> str:
        done = int(self.done.sum())
        return f"<AtlasLayer {self.name}: {done} of {self.filters} filters>"


class Atlas:
    """An atlas on disk, to read: `atlas["block3_conv1"].image[17]`.

    Attributes:
        path: where it is.
        manifest: what it was made from: `model` (source, sha256, …), `layers`, `recipe`, `size`, `steps`, `key`,
            `chunk`, and `made` (versions, platform, device, date).
        layers: the names of its layers, in the order in which it was made: by default that of the network.
    """

    def __init__(self, store: Store, manifest: dict[str, Any]):
        self.path = store.path
        self.manifest = manifest
        self.layers: tuple[str, ...] = tuple(manifest["layers"])
        self._store = store

    def __len__(self) -> int:
        return len(self.layers)

    def __iter__(self) -> Iterator[AtlasLayer]:
        return (AtlasLayer(self._store, number) for number in range(len(self)))

    def __getitem__(self, layer: str) -> AtlasLayer:
        """
        Raises:
            InputError: there is no such layer.
        """
        if layer not in self.layers:
            raise InputError(
                f"no layer {layer!r} in this atlas: {near(layer, self.layers)}its layers are {', '.join(self.layers)}"
            )
        return AtlasLayer(self._store, self.layers.index(layer))

    def __repr__(self) -> str:
        done, filters = 0, 0
        for layer in self:
            done, filters = done + int(layer.done.sum()), filters + len(layer)
        source, recipe = self.manifest["model"]["source"], self.manifest["recipe"]["name"]
        return f"<Atlas {self.path}: {done:,} of {filters:,} filters in {len(self)} layers of {source}, {recipe}>"

    def sheet(self, layer: str, columns: int = 16, margin: int = 2) -> UInt8[np.ndarray, "height width 3"]:
        """All pictures of a layer in one grid, row by row; `rgb.nothing` for filters that are not finished.

        Args:
            columns: pictures in a row; fewer if the layer has fewer.
            margin: black pixels between pictures.

        Raises:
            InputError: an unknown layer, or a damaged chunk.
        """
        found = self[layer]
        pictures = np.stack([_picture(found, i) for i in range(len(found))])
        return rgb.tile(pictures, min(columns, len(pictures)), margin)

    def to_png(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write each finished picture as a PNG: `folder/0003_block3_conv1/0017.png`. Returns the paths.

        Raises:
            InputError: a damaged chunk.
        """
        paths = []
        for layer in self:
            place = Path(folder, f"{of_layer(layer.number)}_{re.sub(r'[^A-Za-z0-9_.-]', '_', layer.name)[:80]}")
            place.mkdir(parents=True, exist_ok=True)
            pictures = layer.image
            for i in np.flatnonzero(layer.done).tolist():
                paths.append(place / f"{i:04d}.png")
                write_image(paths[-1], pictures[i])
        return paths

    def table(self) -> Any:
        """A pandas DataFrame with a row for each filter: layer, filter, fate, and the scores of those that are there.

        The columns are layer, filter, fate ("climbed", "dead", "lost" or "missing"), first and last (the score before
        the first and the last step), and robust, if it was computed. What is missing has no score (NaN).

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError:
            raise ImportError("a table of an atlas needs pandas: pip install pandas") from None
        return pandas.concat([pandas.DataFrame(_rows(layer)) for layer in self], ignore_index=True)


def _picture(layer: AtlasLayer, index: int) -> np.ndarray:
    return layer.image[index] if layer.done[index] else rgb.nothing(*layer.image.shape[1:3])


def _rows(layer: AtlasLayer) -> dict[str, Any]:
    there = np.flatnonzero(layer.done)
    fates = layer._fates
    rows: dict[str, Any] = {
        "layer": [layer.name] * len(layer),
        "filter": np.arange(len(layer)),
        "fate": [FATES[fate] for fate in fates],
    }
    scores, robust = layer.scores, layer.robust
    curves = [scores[i] for i in there.tolist()]
    columns = {"first": [curve[0] for curve in curves], "last": [curve[-1] for curve in curves]}
    if robust is not None:
        columns["robust"] = [robust[i] for i in there.tolist()]
    for name, found in columns.items():
        rows[name] = np.full(len(layer), np.nan, np.float32)
        rows[name][there] = found
    return rows
