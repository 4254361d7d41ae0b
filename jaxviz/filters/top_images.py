"""The images that excite each filter of a layer most, from any number of images, in one pass and bounded memory.

    top_images(model, images, layer) -> TopImages

Law: the result does not depend on `batch`, nor on where a run was interrupted and resumed.

The result is folded over the images: `_with` adds a batch to what was found so far. Two things are kept, and both are
the first few by a key: for each filter, the images of its `top` highest scores; and an ordinary sample of images, those
of the SAMPLE smallest random numbers, with the scores of all filters (`spectra` reads it). Images are numbers here: the
pixels of those that were kept are read again when they are shown (`crops`).
"""

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from jaxviz.ascent.climb import Interrupted
from jaxviz.checks import whole
from jaxviz.compiling.batches import progress
from jaxviz.compiling.jit import jit
from jaxviz.errors import InputError, warn
from jaxviz.filters.responses import TOP, check_by, check_filters, check_finite, positions, respond
from jaxviz.filters.sources import Batch, Source, source, stream
from jaxviz.keys import one_key
from jaxviz.model import Model

__all__ = ["TopImages", "top_images"]

SAMPLE = 2048  # images, 8 bytes a filter each; `spectra` says how exact its percentiles are
NAMED = 5  # skipped files in the warning; `skipped` has all of them


class Sample(NamedTuple):
    """Images that were drawn at random, each with the same chance.

    Attributes:
        draw: a random number for each image, ascending; the sample are the images with the smallest ones.
        image: the numbers of the images.
        score: of each filter at each image.
        place: the number of the position where the filter is highest, as `responses.positions` reads it.
    """

    draw: Int[np.ndarray, " m"]
    image: Int[np.ndarray, " m"]
    score: Float[np.ndarray, "m filters"]
    place: Int[np.ndarray, "m filters"]


class TopImages(NamedTuple):
    """The images that excite each filter of a layer most, the highest first.

    Attributes:
        score: of each filter at its best images.
        image: the numbers of these images; `images[number]` reads one, and `images.items[number]` is its path.
        position: the position of the layer at which the filter is highest there, such as (row, column).
        layer, by: as they were given.
        shape: of the layer, without the batch axis.
        images: where the images come from.
        sample: ordinary images, for `spectra`.
        seen: how many images were read.
        skipped: {number of an image: the reason why its file could not be read}.
        end: the number of the image with which the run goes on, if it was interrupted.
    """

    score: Float[np.ndarray, "filters top"]
    image: Int[np.ndarray, "filters top"]
    position: Int[np.ndarray, "filters top axes"]
    layer: str
    by: str
    shape: tuple[int, ...]
    images: Source
    sample: Sample
    seen: int = 0
    skipped: Mapping[int, str] = MappingProxyType({})
    end: int = 0

    def __repr__(self) -> str:
        filters, top = self.score.shape
        skipped = f" ({len(self.skipped)} more were skipped)" if self.skipped else ""
        of = f"{filters} filters of {self.layer}, by {self.by}"
        return f"<the top {top} of {self.seen:,} images{skipped} for each of {of}>"


def top_images(
    model: Model,
    images: Any,
    layer: str,
    *,
    top: int = TOP,
    by: str = "max",
    size: int | tuple[int, ...] | None = None,
    key: jax.Array | None = None,
    resume: TopImages | None = None,
    batch: int = 32,
) -> TopImages:
    """The `TopImages` of a layer: for each of its filters, the images that excite it most, and where in the image.

    Memory does not grow with the number of images, except for the list of paths: only numbers of images are kept.
    `crops` reads the best again, and `spectra` says what the filters do on ordinary images.

    Files are read by Pillow in threads, while the network computes: turned upright, and resized to the network's size
    (bilinear, without regard to the ratio of height and width). A file that cannot be read is skipped, and a warning
    counts and names them. To read files in another way, give a sequence that reads an item when it is asked for it.

    Args:
        images: a folder, whose image files are taken in the order of their names, also from folders in it; a list of
            paths; an array `[n h w c]` in [0, 1], or a list of arrays `[h w c]`.
        layer: a handle of the model; its last axis are the filters.
        top: how many images for each filter; all of them, if there are fewer.
        by: "max": a filter's score is its largest activation over all positions; "mean": its mean over them.
        size: of the images that are read from files, for a network that takes any size; None: its own size, or 224.
        key: of the sample of ordinary images; default `jax.random.key(0)`.
        resume: the result for the first images of the same list, such as `.finished` of an interruption; the run goes
            on after them. Lists of paths are compared; of arrays, only the number is.
        batch: images read and computed at a time; it bounds memory and changes no result, up to rounding.

    Raises:
        InputError: an unknown layer, a folder without images, no file that can be read, arrays of another shape or
            outside [0, 1], an activation that is NaN, or a `resume` of another layer, `by`, `top` or list.
        Interrupted: on Ctrl-C; `.finished` is the TopImages of the images so far, for `resume`.

    Source: Zeiler & Fergus 2013, Visualizing and understanding convolutional networks, section 4.
    """
    layer, top, by, batch = check_filters(model, layer), whole("top", top), check_by(by), whole("batch", batch)
    where = source(model, images, size)
    shape = model.shapes(where.shape, [layer])[layer]
    found = _nothing(layer, by, shape, where) if resume is None else _check(resume, layer, by, shape, where, top)
    key = one_key(key)
    try:
        with progress(len(where) - found.end, "image") as bar:
            for some, answers in _answers(model, stream(where, found.end, batch), key, layer, by):
                bar.update(some.end - found.end)
                found = _with(found, some, *(np.asarray(each)[: some.real] for each in answers), top=top)
    except KeyboardInterrupt:
        done = [number for number in range(found.end) if number not in found.skipped]
        raise Interrupted(found if done else None, done, "images") from None
    if not found.seen:
        raise InputError(f"none of the {len(where)} files could be read; the first: {found.skipped[0]}")
    if found.skipped:
        named = "; ".join(list(found.skipped.values())[:NAMED]) + ("; …" if len(found.skipped) > NAMED else "")
        warn(f"{len(found.skipped)} of {len(where)} files could not be read and were skipped: {named}")
    return found


def _answers(
    model: Model, batches: Iterable[Batch], key: jax.Array, layer: str, by: str
) -> Iterator[tuple[Batch, tuple[jax.Array, ...]]]:
    """Each batch with the scores, places and draws of its images, one batch late.

    So the network computes one batch while the caller waits for the one before, and adds it to the result.
    """
    late: list[tuple[Batch, tuple[jax.Array, ...]]] = []
    for some in batches:
        late.append((some, (*respond(model, some.pixels, layer=layer, by=by), _draws(key, some.numbers))))
        if len(late) > 1:
            yield late.pop(0)
    yield from late


def _nothing(layer: str, by: str, shape: tuple[int, ...], images: Source) -> TopImages:
    """The result before the first image."""
    filters = shape[-1]
    score, number = np.zeros((filters, 0), np.float32), np.zeros((filters, 0), np.int32)
    sample = Sample(np.zeros(0, np.uint32), np.zeros(0, np.int32), score.T.copy(), np.zeros((0, filters), np.int32))
    return TopImages(score, number, positions(number, shape), layer, by, shape, images, sample)


def _with(
    found: TopImages, some: Batch, score: np.ndarray, place: np.ndarray, draw: np.ndarray, *, top: int
) -> TopImages:
    """What was found, and m more images with the scores and places `[m filters]` of the filters and their draws `[m]`.

    Where two keys are equal, the image that came first stays first: the sorts are stable.
    """
    check_finite(score, found.layer)
    numbers = some.numbers[: some.real]
    number = np.broadcast_to(numbers, score.T.shape)
    scores = np.concatenate([found.score, score.T], 1)
    best = np.argsort(-scores, axis=1, kind="stable")[:, :top]
    position = np.concatenate([found.position, positions(place.T, found.shape)], 1)
    return found._replace(
        score=np.take_along_axis(scores, best, 1),
        image=np.take_along_axis(np.concatenate([found.image, number], 1), best, 1),
        position=np.take_along_axis(position, best[..., None], 1),
        sample=_sampled(found.sample, Sample(draw, numbers, score, place)),
        seen=found.seen + some.real,
        skipped={**found.skipped, **some.skipped},
        end=some.end,
    )


def _sampled(old: Sample, new: Sample) -> Sample:
    """The SAMPLE images of two samples that have the smallest draws."""
    if len(old.draw) == SAMPLE and not (new.draw < old.draw[-1]).any():
        return old  # as nearly always in a long run
    first = np.argsort(np.concatenate([old.draw, new.draw]), kind="stable")[:SAMPLE]
    return Sample(*(np.concatenate(each)[first] for each in zip(old, new, strict=True)))


@jit()
def _draws(key: jax.Array, numbers: jax.Array) -> jax.Array:
    """A random number for each image, by its own number."""
    return jax.vmap(lambda number: jax.random.bits(jax.random.fold_in(key, number), dtype="uint32"))(numbers)


def _check(resume: TopImages, layer: str, by: str, shape: tuple[int, ...], images: Source, top: int) -> TopImages:
    """What was found for the first images of the same list, to go on with.

    Raises:
        InputError: it was found with other arguments.
    """
    check_found(resume, "resume")
    kept = min(top, resume.seen)
    was = resume.layer, resume.by, resume.images.shape, resume.shape, resume.score.shape[1]
    if was != (layer, by, images.shape, shape, kept):
        raise InputError(
            f"resume goes on with the same layer, by, size and top; it was found with {resume.layer}, {resume.by!r}, "
            f"{resume.images} and {resume.score.shape[1]}; given: {layer}, {by!r}, {images} and {top}"
        )
    if len(images) < resume.end or resume.images.paths(resume.end) != images.paths(resume.end):
        raise InputError(
            f"resume goes on with the same images: the first {resume.end} must be those that it was found with, in "
            "their order"
        )
    return resume._replace(images=images)


def check_found(found: Any, name: str = "found") -> None:
    """
    Raises:
        InputError: `found` is not the result of `top_images`.
    """
    if not isinstance(found, TopImages):
        raise InputError(f"{name} is what jv.top_images(model, images, layer) returns; given: {type(found).__name__}")
