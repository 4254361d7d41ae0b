"""Images, crops and filters that go together, over any number of images.

Laws:
- NumPy finds the same images, scores and positions in the activations of all images at once.
- The result depends neither on `batch` nor on an interruption; a skipped file changes nothing for the others.
- Percentiles are those of all images as long as the sample holds them, and else those of a sample that is uniform.
- A crop holds every pixel that the score depends on, and along each axis no others.
"""

import operator
import tracemalloc

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks import SHAPE, image, images, keras_model

import jaxviz as jv
from jaxviz.filters import top_images as module
from jaxviz.filters.sources import source, stream

COUNT = 23


@pytest.fixture(scope="module")
def model():
    return keras_model()


@pytest.fixture(scope="module")
def many():
    found = images(COUNT, seed=3)
    found[7] = found[2]  # a tie, which the first of the two wins
    return found


@pytest.fixture(scope="module")
def found(model, many):
    return jv.top_images(model, many, "second", top=5, batch=8)


@pytest.fixture
def folder(tmp_path, many):
    """The images as files, one of which is no image, and one of which is cut off."""
    (tmp_path / "more").mkdir()
    for number, each in enumerate(many):
        where = tmp_path / ("more" if number > 15 else ".") / f"{number:02}.PNG"
        jv.write_image(where, (255 * each).round().astype(np.uint8))
    (tmp_path / "00_text.png").write_text("this is no image")
    (tmp_path / "00_whole.png").write_bytes((tmp_path / "00.PNG").read_bytes()[:200])
    (tmp_path / "readme.txt").write_text("this is no image, but it does not say so")
    return tmp_path


def expected(model, many, layer, by="max"):
    """The scores `[n filters]` and the first positions `[n filters]` of the largest activation."""
    values = jv.activations(model, many, layer)[layer]
    flat = values.reshape(len(many), -1, values.shape[-1])
    return flat.max(1) if by == "max" else flat.mean(1), flat.argmax(1)


def same(one, other):
    for ours, theirs in zip(jax.tree.leaves(one[:3]), jax.tree.leaves(other[:3]), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for ours, theirs in zip(one.sample, other.sample, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert (one.seen, one.skipped, one.end) == (other.seen, other.skipped, other.end)


@pytest.mark.parametrize(("layer", "by"), [("second", "max"), ("second/pre", "mean"), ("head/pre", "max")])
def test_the_best_images_are_those_that_numpy_finds(model, many, layer, by):
    found = jv.top_images(model, many, layer, top=5, by=by, batch=8)
    scores, places = expected(model, many, layer, by)
    order = np.argsort(-scores, axis=0, kind="stable")[:5]
    np.testing.assert_array_equal(found.image, order.T)
    np.testing.assert_allclose(found.score, np.take_along_axis(scores, order, 0).T, rtol=1e-5)
    where = np.take_along_axis(places, order, 0).T
    shape = model.shapes(names=[layer])[layer][:-1]
    assert found.position.shape == (*where.shape, len(shape))
    if shape:
        np.testing.assert_array_equal(found.position, np.stack(np.unravel_index(where, shape), -1))
    assert "top 5 of 23 images" in repr(found)


def test_the_filters_that_an_image_excites_most(model, many):
    found = jv.top_filters(model, many, "second", top=4, batch=8)
    scores, places = expected(model, many, "second")
    order = np.argsort(-scores, axis=1, kind="stable")[:, :4]
    np.testing.assert_array_equal(found.index, order)
    np.testing.assert_allclose(found.score, np.take_along_axis(scores, order, 1), rtol=1e-5)
    rows, columns = np.unravel_index(np.take_along_axis(places, order, 1), (6, 6))
    np.testing.assert_array_equal(found.position, np.stack([rows, columns], -1))
    one = jv.top_filters(model, many[4], "second", top=4)
    for alone, batched in zip(one, found, strict=True):
        np.testing.assert_allclose(alone, batched[4], rtol=1e-6)
    assert jv.top_filters(model, many[4], "head").position.shape == (5, 0)  # all five units, without positions


def test_the_result_does_not_depend_on_the_batch(model, many, found):
    same(jv.top_images(model, list(many), "second", top=5, batch=5), found)
    same(jv.top_images(model, many, "second", top=5, batch=64), found)


def test_a_run_goes_on_where_it_was_interrupted(model, many, found):
    class Stopping(list):
        def __getitem__(self, number):
            if number == 17:
                raise KeyboardInterrupt
            return super().__getitem__(number)

    with pytest.raises(jv.Interrupted, match="12 images finished") as stopped:
        jv.top_images(model, Stopping(many), "second", top=5, batch=4)
    part = stopped.value.finished
    assert (part.seen, part.end, stopped.value.positions) == (12, 12, list(range(12)))
    same(jv.top_images(model, many, "second", top=5, batch=4, resume=part), found)
    same(jv.top_images(model, many, "second", top=5, resume=found), found)
    with pytest.raises(jv.InputError, match=r"found with second, 'max', .* given: second, 'mean'"):
        jv.top_images(model, many, "second", top=5, by="mean", resume=part)
    with pytest.raises(jv.InputError, match="the first 12 must be those"):
        jv.top_images(model, many[:9], "second", top=5, resume=part)


def test_a_run_goes_on_without_reading_again_what_it_has_read(model, many, found):
    class Recorded:
        """A sequence that reads an item when it is asked for it, by a number only."""

        def __init__(self, items):
            self.items, self.asked = items, set()

        def __len__(self):
            return len(self.items)

        def __getitem__(self, number):
            self.asked.add(number)
            return self.items[operator.index(number)]

    part = jv.top_images(model, Recorded(many[:12]), "second", top=5, batch=4)
    rest = Recorded(many)
    same(jv.top_images(model, rest, "second", top=5, batch=4, resume=part), found)
    assert rest.asked == {0, *range(12, COUNT)}  # 0 says what the items are


def test_files_and_arrays_are_not_one_list(model, folder, many):
    files = sorted(str(path) for path in folder.glob("[0-9][0-9].PNG"))[:5]
    of_files = jv.top_images(model, files, "second", top=5)
    assert jv.top_images(model, files, "second", top=5, resume=of_files).seen == 5
    for other in (many, files[::-1]):
        with pytest.raises(jv.InputError, match="the first 5 must be those"):
            jv.top_images(model, other, "second", top=5, resume=of_files)
    whole = jv.wrap(lambda params, batch: batch.mean((1, 2)), image_shape=(8, 8, 3)).replace(
        image_shape=(None, None, 3)
    )
    at_8 = jv.top_images(whole, files, "output", top=5, size=8)
    with pytest.raises(jv.InputError, match=r"<5 images of 8 × 8 × 3> and 5; given: .*<5 images of 9 × 9 × 3> and 5"):
        jv.top_images(whole, files, "output", top=5, size=9, resume=at_8)
    of_arrays = jv.top_images(model, many[:5], "second", top=5)
    with pytest.raises(jv.InputError, match="the first 5 must be those"):
        jv.top_images(model, files, "second", top=5, resume=of_arrays)


def test_results_are_those_of_top_images(model, many, found):
    with pytest.raises(jv.InputError, match=r"resume is what jv\.top_images\(model, .*\) returns; given: str"):
        module.check_found("photographs/", "resume")
    other = jv.spectra(jv.top_images(model, many, "first"))
    for at in ([1, 2], other):
        with pytest.raises(jv.InputError, match=r"at is jv.spectra\(found\), of the same result"):
            jv.crops(model, found, 0, at)


def test_an_interruption_before_the_first_image_has_no_result(model, monkeypatch):
    def stop(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "stream", stop)
    with pytest.raises(jv.Interrupted) as stopped:
        jv.top_images(model, images(3), "second")
    assert stopped.value.finished is None


def test_files_that_cannot_be_read_are_skipped_counted_and_named(model, folder, many):
    with pytest.warns(jv.JaxvizWarning, match=r"2 of 25 files could not be read and were skipped: .*00_text.png"):
        found = jv.top_images(model, folder, "second", top=5, batch=8)
    names = [item.removeprefix(str(folder)) for item in found.images.items]
    assert names[:4] == ["/00.PNG", "/00_text.png", "/00_whole.png", "/01.PNG"]
    assert names[-1] == "/more/22.PNG"
    assert (found.seen, list(found.skipped), found.end) == (COUNT, [1, 2], COUNT + 2)
    kept = [path for number, path in enumerate(found.images.items) if number not in found.skipped]
    rounded = np.stack([jv.read_image(path) for path in kept])
    alone = jv.top_images(model, rounded, "second", top=5, batch=8)
    np.testing.assert_array_equal(found.score, alone.score)
    assert [found.images.items[number] for number in found.image[3]] == [kept[number] for number in alone.image[3]]
    with pytest.warns(jv.JaxvizWarning, match="2 of 3 files"):
        few = jv.top_images(model, found.images.items[:3], "second", batch=2)
    assert (few.seen, few.score.shape) == (1, (6, 1))
    with pytest.raises(jv.InputError, match=r"none of the 2 files could be read; the first: .*00_text.png"):
        jv.top_images(model, found.images.items[1:3], "second")


def test_a_folder_without_images_is_refused(model, tmp_path):
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(jv.InputError, match=r"holds no image: no file in it ends in \.bmp"):
        jv.top_images(model, tmp_path, "second")
    for gone in (tmp_path / "gone", ""):
        with pytest.raises(jv.InputError, match="there is no folder or file "):
            jv.top_images(model, gone, "second")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "there are no images"),
        (iter([image()]), "an array .* or a list of arrays, so that each can be read again .* given: list_iterator"),
        (image(), r"images are several: image\[None\] is a batch of one; given: an array of \[12, 12, 3\]"),
        ([image(), image()[:5]], r"image 1 must be \[12, 12, 3\], as the others are; given: \[5, 12, 3\]"),
        ([image(), image() + 1], r"values in \[0, 1\]"),
    ],
)
def test_images_that_cannot_be_used(model, given, message):
    with pytest.raises(jv.InputError, match=message):
        jv.top_images(model, given, "second")


def test_arguments_that_cannot_be_used(model, many, found):
    with pytest.raises(jv.InputError, match="did you mean second"):
        jv.top_images(model, many, "secnd")
    with pytest.raises(jv.InputError, match=r"'max' or 'mean', over the positions .* given: 'sum'"):
        jv.top_filters(model, image(), "second", by="sum")
    with pytest.raises(jv.InputError, match="top is a whole number"):
        jv.top_images(model, many, "second", top=0)
    with pytest.raises(jv.InputError, match=r"percentiles .* from 0 to 100.* given: \[101\]"):
        jv.spectra(found, [101])
    with pytest.raises(jv.InputError, match="second has 6 filters, 0 to 5; given: 6"):
        jv.crops(model, found, 6)
    broken = jv.wrap(lambda params, batch: jnp.log(batch.mean((1, 2)) - 2), image_shape=SHAPE)
    with pytest.raises(jv.InputError, match=r"activations of output are NaN or infinite, in filters \[0, 1, 2\]"):
        jv.top_images(broken, many, "output")
    flat = jv.wrap(lambda params, batch: batch.mean((1, 2, 3)), image_shape=SHAPE)
    with pytest.raises(jv.InputError, match="output is a single number"):
        jv.top_images(flat, many, "output")
    signal = jv.wrap(lambda params, batch: batch, image_shape=(40, 2))
    with pytest.raises(jv.InputError, match="this network takes 40 × 2: read them yourself"):
        jv.top_images(signal, ["a.png"], "output")


def test_percentiles_of_few_images_are_exact(model, many, found):
    spectra = jv.spectra(found, [0, 50, 90, 100])
    scores, places = expected(model, many, "second")
    exact = np.percentile(scores, [0, 50, 90, 100], axis=0, method="inverted_cdf").T
    np.testing.assert_allclose(spectra.score, exact, rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(scores.T, spectra.image, 1), exact, rtol=1e-5)
    flat = np.ravel_multi_index(tuple(np.moveaxis(spectra.position, -1, 0)), (6, 6))
    np.testing.assert_array_equal(flat, np.take_along_axis(places.T, spectra.image, 1))
    np.testing.assert_array_equal(spectra.error, 0)


def test_percentiles_of_many_images_are_those_of_a_uniform_sample(monkeypatch):
    """The score of image i is i, so the sample says which images it holds."""
    monkeypatch.setattr(module, "SAMPLE", 256)
    model = jv.wrap(lambda params, batch: batch.mean((1, 2)), image_shape=(1, 1, 1))
    line = np.linspace(0, 1, 2000, dtype=np.float32).reshape(-1, 1, 1, 1)
    q = np.arange(0, 101, 5)
    found = jv.top_images(model, line, "output", top=1, batch=500)
    spectra = jv.spectra(found, q)
    assert len(found.sample.image) == len(set(found.sample.image)) == 256
    # Kolmogorov and Smirnov: beyond 1.95 / √m in one of a thousand samples.
    assert np.abs(100 * spectra.score[0] - q).max() < 195 / np.sqrt(256)
    assert spectra.score[0, -1] == 1  # the highest is exact
    np.testing.assert_allclose(spectra.error[10], 100 * 0.5 / np.sqrt(256))
    other = jv.top_images(model, line, "output", top=1, batch=500, key=jax.random.key(1))
    assert set(other.sample.image) != set(found.sample.image)
    same(jv.top_images(model, line, "output", top=1, batch=300), found)


@pytest.mark.parametrize("layer", ["first/pre", "second/pre", "flat", "head/pre"])
def test_a_crop_is_what_the_score_depends_on(model, many, layer):
    found = jv.top_images(model, many, layer, top=3)
    index = {"flat": 100}.get(layer, 2)
    parts = jv.crops(model, found, index)
    for number, position, part in zip(found.image[index], found.position[index], parts, strict=True):
        one = (*position, index)
        slope = jax.grad(lambda pixels, one=one: model(pixels, [layer])[layer][one])(jnp.asarray(many[number]))
        rows, columns, _ = (np.flatnonzero(np.asarray(slope != 0).any(axes)) for axes in ((1, 2), (0, 2), (0, 1)))
        if layer in ("flat", "second/pre"):  # a max-pool passes its gradient to one of the pixels it sees
            assert all(any((part == many[number][y, x]).all(-1).ravel()) for y in rows for x in columns)
            assert part.shape[0] <= 8
            assert part.shape[1] <= 8
        else:
            exact = many[number][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            np.testing.assert_array_equal(part, exact)


def test_crops_of_ordinary_images(model, many, found):
    spectra = jv.spectra(found, [50, 100])
    ordinary, best = jv.crops(model, found, 1, spectra)
    np.testing.assert_array_equal(best, jv.crops(model, found, 1)[0])
    position = spectra.position[1, 0]
    first = np.maximum(2 * position - 3, 0)
    last = 2 * position + 5
    whole = many[spectra.image[1, 0]]
    np.testing.assert_array_equal(ordinary, whole[first[0] : last[0], first[1] : last[1]])


def test_memory_does_not_grow_with_the_number_of_images():
    """Images that are made when they are read; a list of a few batches lies in memory, whatever their number."""

    class Made:
        def __init__(self, count):
            self.count = count

        def __len__(self):
            return self.count

        def __getitem__(self, number):
            return np.full((64, 64, 3), number / self.count, np.float32)

    model = jv.wrap(lambda params, batch: batch.mean((1, 2)), image_shape=(64, 64, 3))
    peaks = []
    for count in (64, 512):
        tracemalloc.start()
        for batch in stream(source(model, Made(count), None), 0, 8):
            assert batch.real == 8
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.3 * peaks[0] + 200_000
    assert peaks[1] < 6 * 8 * 64 * 64 * 3 * 4


def test_other_weights_and_another_number_of_images_compile_nothing(model, many):
    jv.top_images(model, many[:16], "second", top=5, batch=8)
    respond = module.respond.compiled()
    before = respond._cache_size()
    jv.top_images(keras_model(seed=1), many[:9], "second", top=5, batch=8)
    assert respond._cache_size() == before
