"""Claim: `top_images` takes at most 1.10 × the time of the bare forward passes, and its memory is that of 1,000 images.

    python benchmarks/top_images.py

The network is the real VGG16 base up to `block2_conv2`, fed with images of 32 × 32 pixels, so that 10,000 of them take
less than a minute; a cheap network is the hard case, as what `top_images` adds is the same for all. The images are JPEG
files, cut from photographs: 10,000 files, which the bare pass decodes in the same way, by the same threads. The bare
pass computes the layer, waits for it and throws it away. The peak memory is that of a fresh process that does nothing
else. The answers are compared with those of NumPy on the activations of the first 500 images.
"""

import tempfile
from pathlib import Path

import numpy as np
from common import Contender, options, race, row, write

LAYER, SIZE, BATCH = "block2_conv2", 32, 32
FEW, MANY = 1_000, 10_000
CHECKED = 500


def files(folder, count):
    """`count` JPEG files, each another part of a photograph."""
    from skimage import data

    import jaxviz as jv

    photographs = [data.astronaut(), data.chelsea(), data.coffee(), data.rocket()]
    random = np.random.default_rng(0)
    for number in range(count):
        photograph = photographs[number % len(photographs)]
        side = int(random.integers(96, 256))
        top, left = (int(random.integers(0, length - side)) for length in photograph.shape[:2])
        jv.write_image(folder / f"{number:05}.jpg", photograph[top : top + side, left : left + side])


def jaxviz(folder):
    """A function `found(count)`: the scores of the best of the first `count` files, `[filters top]`."""
    import jaxviz as jv

    model = jv.load("vgg16_demo")
    paths = sorted(map(str, Path(folder).iterdir()))

    def found(count):
        return jv.top_images(model, paths[:count], LAYER, size=SIZE, batch=BATCH).score

    return found


def bare(folder):
    """A function `passed(count)`: it reads the first `count` files and computes the layer."""
    import jaxviz as jv
    from jaxviz.filters.sources import source, stream
    from jaxviz.model import compute

    model = jv.load("vgg16_demo")
    paths = sorted(map(str, Path(folder).iterdir()))

    def passed(count):
        for some in stream(source(model, paths[:count], SIZE), 0, BATCH):
            compute(model, some.pixels, names=(LAYER,))[LAYER].block_until_ready()

    return passed


def by_numpy(folder):
    """A function `found(count)`, as that of `jaxviz`, from all activations at once."""
    import jaxviz as jv

    model = jv.load("vgg16_demo")
    paths = sorted(map(str, Path(folder).iterdir()))

    def found(count):
        images = np.stack([jv.read_image(path, SIZE, resample="bilinear") for path in paths[:count]])
        highest = jv.activations(model, images, LAYER)[LAYER].max((1, 2))
        return -np.sort(-highest, axis=0)[:9].T

    return found


def peaks(build, folder, counts):
    """The peak memory in MB of a fresh process for each number of images."""
    result = {}
    for count in counts:
        fresh = Contender(build, folder)
        result[f"{count:,} images"] = round(fresh(count).peak)
        fresh.end()
    return result


def main():
    args = options(__doc__)
    few, many = (64, 256) if args.quick else (FEW, MANY)
    with tempfile.TemporaryDirectory() as folder:
        files(Path(folder), many)
        found = {"jaxviz": Contender(jaxviz, folder), "bare forward passes": Contender(bare, folder)}
        checked = min(CHECKED, many)
        numpy = Contender(by_numpy, folder)
        ours, theirs = found["jaxviz"](checked).value, numpy(checked).value
        numpy.end()
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
        found["bare forward passes"](checked)  # compiles
        seconds = race(found, many, rounds=1 if args.quick else args.rounds)
        for contender in found.values():
            contender.end()
        work = f"{many:,} files of {SIZE}² up to {LAYER}, per image"
        rows = [row(work, seconds, per=many, wanted={"bare forward passes": 0.91})]
        memory = peaks(jaxviz, folder, (few, many))
    print("peak memory, MB:", memory)
    if not args.quick:
        results = {
            "claim": "at most 1.10 × the time of the bare forward passes with the same decoding; memory stays",
            "rows": rows,
            "peak memory, MB": memory,
        }
        print(write("top_images", results))


if __name__ == "__main__":
    main()
