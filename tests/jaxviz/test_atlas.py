"""An atlas: every filter of a network in one store.

Laws:
- What is read is what `sweep`, `held_score` and `top_images` find, filter by filter.
- What is not finished, or not there, is not shown.
- Bad input is one sentence, and nothing is overwritten.
- Names from a file are text: they become no path.
"""

import json
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from atlas_network import SETTINGS, network
from click.testing import CliRunner
from flax import linen as nn

import jaxviz as jv
from jaxviz.ascent.held import measured
from jaxviz.atlases.clock import Clock, spoken
from jaxviz.atlases.kernels import describe
from jaxviz.atlases.plan import Chunk
from jaxviz.cli.commands import main


@pytest.fixture(scope="module")
def model() -> jv.Model:
    return network()


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    draw = np.random.default_rng(0)
    for i in range(4):
        jv.write_image(folder / f"<b>{i}.png", draw.integers(0, 256, (16, 16, 3)).astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def path(model, photographs, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("atlas") / "a.zarr"
    jv.atlas(model, path, ["second", "scores"], **SETTINGS, images=photographs, latent=True)
    return path


def files(path: Path) -> dict[Path, bytes]:
    return {each: each.read_bytes() for each in path.rglob("*") if each.is_file()}


def keys(model: jv.Model, layer: str, count: int, key: jax.Array | None = None) -> jax.Array:
    place = jax.random.fold_in(jax.random.key(0) if key is None else key, model.handles.index(layer))
    return jax.vmap(jax.random.fold_in, (None, 0))(place, jnp.arange(count))


def test_it_holds_what_a_sweep_finds(model, path):
    layer = jv.open_atlas(path)["second"]
    assert len(layer) == layer.filters == layer.done.sum() == 7
    assert not layer.dead.any()
    assert not layer.lost.any()
    recipe = jv.recipes.chollet(size=30, steps=3)
    known = jv.sweep(model, jv.channels(model, "second"), key=keys(model, "second", 7), **recipe)
    np.testing.assert_allclose(layer.scores[:], known.scores, rtol=1e-6)
    np.testing.assert_allclose(layer.latent[:], known.image, atol=1e-6)
    shown = jv.recipes.RECIPES["chollet"].pictures(known)
    assert np.abs(np.asarray(layer.image).astype(int) - shown).max() <= 1
    exact = np.rint(255 * np.clip(known.image, 0, 1)).astype(int)
    assert np.abs(layer.exact[:] - exact).max() <= 1
    assert layer.image[-1].tolist() == layer.image[6].tolist()


def test_units_of_a_dense_layer_are_filters_too(model, path):
    layer = jv.open_atlas(path)["scores"]
    recipe = jv.recipes.chollet(size=30, steps=3)
    known = jv.sweep(model, [jv.Unit("scores", i) for i in range(3)], key=keys(model, "scores", 3), **recipe)
    np.testing.assert_allclose(layer.scores[:], known.scores, rtol=1e-6)
    assert layer.receptive_field == ((30, 30), (0, 0), (0, 0))


def test_it_holds_how_much_of_each_score_holds(model, path):
    """The perturbations are drawn from other keys than the noise."""
    layer = jv.open_atlas(path)["second"]
    drawn = keys(model, "second", 7, jax.random.fold_in(jax.random.key(0), 1))
    _, known, _ = measured(model, np.asarray(layer.image), jv.channels(model, "second"), drawn)
    np.testing.assert_allclose(layer.robust[:], known, rtol=1e-4)


def test_it_holds_the_strongest_parts_of_photographs(model, path, photographs):
    layer = jv.open_atlas(path)["second"]
    found = jv.top_images(model, photographs, "second", top=4)
    np.testing.assert_array_equal(layer.crop_scores[:], found.score)
    assert layer.crop_files[5] == [Path(found.images.items[number]).name for number in found.image[5]]
    part = jv.crops(model, found, 5)[0]
    crop = layer.crops[5][0]
    assert crop.shape == (64, 64, 3)
    height, width = (round(64 * side / max(part.shape)) for side in part.shape[:2])
    top, left = (64 - height) // 2, (64 - width) // 2
    inner = crop[top : top + height, left : left + width]
    assert inner.mean() == pytest.approx(255 * part.mean(), abs=3)
    assert crop.sum() == inner.sum()


def test_a_layer_says_where_it_is(model, path):
    layer = jv.open_atlas(path)["second"]
    assert (layer.name, layer.kind, model.layers[layer.position]) == ("second", "Conv", "second")
    assert layer.receptive_field == tuple(jv.receptive_field(model, "second"))


def test_cosines_of_kernels_are_kept(model, path):
    rows = jv.open_atlas(path)["second"].weights
    kernel = model.params["params"]["second"]["kernel"].reshape(-1, 7).T
    unit = kernel / np.linalg.norm(kernel, axis=1, keepdims=True)
    np.testing.assert_allclose(rows @ rows.T, unit @ unit.T, atol=1e-5)
    large = replace(model, params={"second": {"kernel": np.random.default_rng(0).normal(size=(20, 200, 90))}})
    assert describe(large, "second", 90).shape == (90, 64)
    assert describe(replace(model, params={"second": {"a": kernel.T, "b": kernel.T}}), "second", 7) is None


def test_what_was_not_asked_for_is_none(model, tmp_path):
    layer = jv.atlas(model, tmp_path / "a.zarr", ["first"], **SETTINGS, robust=False)["first"]
    assert layer.robust is layer.latent is layer.crops is layer.crop_scores is layer.crop_files is None


def test_a_table_a_sheet_and_files_of_an_unfinished_atlas(model, tmp_path):
    pandas = pytest.importorskip("pandas")
    found = jv.atlas(model, tmp_path / "a.zarr", **SETTINGS, robust=False, shard=(1, 2))
    table = found.table()
    assert isinstance(table, pandas.DataFrame)
    there = table[table.fate != "missing"]
    assert 0 < len(there) < len(table) == 12
    row = there.iloc[-1]
    assert row["last"] == found[row.layer].scores[row["filter"]][-1]
    assert table["last"].isna().sum() == 12 - len(there)
    assert found.sheet("second", columns=4, margin=2).shape == (62, 126, 3)
    written = found.to_png(tmp_path / "pictures")
    assert len(written) == len(there)
    assert jv.read_image(written[-1]).shape == (30, 30, 3)
    assert repr(found).endswith(f"{len(there)} of 12 filters in 2 layers of , chollet>")
    with pytest.raises(jv.InputError, match=r"image of first has no filter 0 yet: the atlas is not finished"):
        found["first"].image[0]


@pytest.mark.parametrize("index", [7, -8, "a", 1.5])
def test_an_index_out_of_range_is_refused(path, index):
    with pytest.raises(jv.InputError, match=r"has 7 filters, 0 to 6; given: -?\d|a filter is a whole number"):
        jv.open_atlas(path)["second"].image[index]


@pytest.mark.parametrize("index", [slice(None, None, -1), slice(5, 1, -2), slice(1, 6, 2), slice(5, 3)])
def test_slices_are_those_of_numpy(path, index):
    scores = jv.open_atlas(path)["second"].scores
    np.testing.assert_array_equal(scores[index], scores[:][index])


def test_the_memory_that_is_allowed_holds(model, tmp_path):
    little = replace(model, execution=jv.Execution(memory=1000))
    with pytest.raises(jv.InputError, match="the memory must be enough for one item"):
        jv.atlas(little, tmp_path / "a.zarr", **SETTINGS)


def test_names_become_no_path(tmp_path):
    """A network whose layer is called so, which no file system would take as it is."""

    class Hostile(nn.Module):
        @nn.compact
        def __call__(self, x):
            return nn.Conv(2, (3, 3), name="..<script>alert(1)</script>")(x)

    module = Hostile()
    model = jv.wrap(module, module.init(jax.random.key(0), jnp.zeros((1, 8, 8, 3))), image_shape=(8, 8, 3))
    settings = {"recipe": "chollet", "size": 8, "steps": 1, "robust": False}
    found = jv.atlas(model, tmp_path / "a.zarr", [model.layers[0]], **settings)
    assert found.layers == (model.layers[0],)
    assert {each.name for each in (tmp_path / "a.zarr").iterdir()} == {"0000", "zarr.json"}
    for each in found.to_png(tmp_path / "pictures"):
        assert each.parent.parent == tmp_path / "pictures"
        assert each.parent.name == "0000_" + "".join(c if c.isalnum() or c in "_.-" else "_" for c in model.layers[0])


def test_dead_and_lost_filters_have_no_picture(model, tmp_path):
    params = jax.tree.map(np.copy, model.params)
    params["params"]["second"]["kernel"][..., 1] = 0  # no image changes it
    params["params"]["second"]["kernel"][..., 4] = np.nan
    broken = replace(model, params=params)

    with pytest.warns(jv.JaxvizWarning) as warned:
        layer = jv.atlas(broken, tmp_path / "a.zarr", ["second"], **SETTINGS)["second"]
    said = "\n".join(str(each.message) for each in warned)
    assert "1 filters do not move" in said
    assert "1 filters ended in NaN" in said
    assert layer.dead.tolist() == [i == 1 for i in range(7)]
    assert layer.lost.tolist() == [i == 4 for i in range(7)]
    assert np.isnan(layer.robust[4])
    assert np.isfinite(np.delete(layer.robust[:], 4)).all()
    for i in (1, 4):
        assert len(np.unique(layer.image[i])) == 2  # the picture of nothing: black, with a grey line
    assert layer.exact[1].std() > 0  # the noise that it began with
    assert len(np.unique(layer.image[0])) > 20


def test_a_chunk_that_is_all_zero_is_there(model, tmp_path):
    """Without its first layer, no filter of the second one moves, and all scores are 0, as a missing chunk reads."""
    still = jv.edited(model, jv.ablate(model, "first"))
    with pytest.warns(jv.JaxvizWarning, match="7 filters do not move"):
        layer = jv.atlas(still, tmp_path / "a.zarr", ["second"], **SETTINGS)["second"]
    assert layer.dead.all()
    assert (layer.scores[:] == 0).all()
    before = files(tmp_path)
    jv.atlas(still, tmp_path / "a.zarr", ["second"], **SETTINGS, verify=True)
    assert files(tmp_path) == before


def test_the_same_call_does_nothing_twice(model, path, photographs, monkeypatch):
    before = files(path)
    monkeypatch.setattr("jaxviz.atlases.work.compute", None)
    jv.atlas(model, path, ["second", "scores"], **SETTINGS, images=photographs, latent=True, verify=True)
    assert files(path) == before


@pytest.mark.parametrize(
    ("other", "difference"),
    [
        ({"steps": 4}, "recipe.steps is 3 there, 4 here"),
        ({"recipe": "keras_io", "size": 80}, 'recipe.name is "chollet" there, "keras_io" here'),
        ({"layers": ["second"]}, r'layers is \["second", "scores"\] there, \["second"\] here'),
        ({"key": jax.random.key(1)}, r"key.data is \[0, 0\] there, \[0, 1\] here"),
        ({"chunk": 4}, "chunk is 3 there, 4 here"),
        ({"model": network(8)}, "model.parameters is "),
        ({"model": jv.edited(network(), jv.ablate(network(), "first"))}, "model.interventions is null there, "),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_a_store_of_something_else_is_refused(model, path, photographs, other, difference):
    before = files(path)
    same = {"layers": ["second", "scores"], **SETTINGS, "images": photographs, "latent": True}
    arguments = same | other
    with pytest.raises(jv.InputError, match=rf"is an atlas of something else, and stays as it is: .*{difference}"):
        jv.atlas(arguments.pop("model", model), path, **arguments)
    assert files(path) == before


ONLY_A_FORMAT = '{"zarr_format": 3, "node_type": "group", "attributes": {"jaxviz_atlas": {"format": 1}}}'


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"zarr_format": 3, "node_type": "group", "attributes": {}}', ONLY_A_FORMAT]
)
def test_a_foreign_or_damaged_manifest_is_refused(model, tmp_path, text):
    (tmp_path / "zarr.json").write_text(text)
    for ask in (lambda: jv.atlas(model, tmp_path, **SETTINGS), lambda: jv.open_atlas(tmp_path)):
        with pytest.raises(jv.InputError, match=r"is no atlas, or its manifest is damaged"):
            ask()
    assert files(tmp_path) == {tmp_path / "zarr.json": text.encode()}


def test_places_that_are_none_are_refused(model, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    for place, why in ((tmp_path, "is no atlas, since it holds other files"), (tmp_path / "notes.txt" / "a", "cannot")):
        with pytest.raises(jv.InputError, match=why):
            jv.atlas(model, place, **SETTINGS)
    with pytest.raises(jv.InputError, match=r"there is no atlas at .*b.zarr: jv.atlas"):
        jv.open_atlas(tmp_path / "b.zarr")
    assert files(tmp_path) == {tmp_path / "notes.txt": b"mine"}


def test_an_atlas_of_another_format_is_refused(path, tmp_path):
    said = json.loads((path / "zarr.json").read_text())
    said["attributes"]["jaxviz_atlas"]["format"] = 2
    (tmp_path / "zarr.json").write_text(json.dumps(said))
    with pytest.raises(jv.InputError, match="is an atlas of format 2, and this jaxviz reads format 1"):
        jv.open_atlas(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"layers": ["secnd"]}, "did you mean second"),
        ({"layers": ["second", "second"]}, "each once"),
        ({"layers": []}, "one or more names"),
        ({"recipe": "choley"}, "did you mean chollet"),
        ({"width": 3}, "the recipe chollet has no width"),
        ({"start": np.zeros((30, 30, 3), np.float32)}, "each filter of an atlas starts as its recipe says"),
        ({"size": 0, "chunk": None}, "size is a whole number of pixels"),
        ({"chunk": 0}, "chunk is a whole number, 1 or more"),
        ({"size": 1, "robust": False}, "does not fit second: it needs at least 2 × 2"),
        ({"size": 13}, "does not fit second: .*the held score needs that much after it has cut 12 pixels off"),
        ({"size": 12}, "a picture of 12 × 12 has nothing left after it has cut 12 pixels off"),
        ({"images": "nowhere"}, "there is no folder 'nowhere'"),
    ],
    ids=lambda each: next(iter(each)) if isinstance(each, dict) else "",
)
def test_bad_arguments_are_refused_before_anything_is_written(model, tmp_path, arguments, why):
    with pytest.raises(jv.InputError, match=why):
        jv.atlas(model, tmp_path / "a.zarr", **SETTINGS | arguments)
    assert not files(tmp_path)


def test_unknown_layers_have_near_misses(path):
    with pytest.raises(jv.InputError, match="did you mean second"):
        jv.open_atlas(path)["secnd"]


def test_an_estimate_counts_filters_chunks_and_bytes(model):
    found = jv.estimate_atlas(model, **SETTINGS, robust=False)
    assert (found.filters, found.chunks) == (12, 5)
    assert found.bytes == 12 * (30 * 30 * 3 * 2 + 3 * 4)
    assert found.seconds > 0
    assert str(found).startswith("12 filters in 5 chunks: at most 0.1 MB on disk, and about ")


def test_the_remaining_time_is_exact_if_costs_are():
    """Two layers of three chunks: 10 s and 20 s each, and a start of 7 s with the first chunk of a layer."""
    chunks = [Chunk(layer, start, start + 1) for layer in (0, 1) for start in range(3)]
    clock = Clock(chunks, [1.0] * 3 + [2.0] * 3)
    assert clock.left() is None
    clock.add(chunks[0], 17.0)
    clock._began = -1e9  # as if one worker had needed all the time
    clock.add(chunks[1], 10.0)
    assert clock.left(0) == pytest.approx(10)
    assert clock.left() == pytest.approx(10 + 3 * 20 + 7)
    clock.add(chunks[2], 0.0)  # another writer did it
    assert clock.left() == pytest.approx(3 * 20 + 7)
    clock.add(chunks[3], 27.0)
    clock.add(chunks[4], 20.0)
    assert clock.left() == pytest.approx(20)


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, "not known yet"), (4.0, "4 s"), (300.0, "5 min"), (7800.0, "2 h 10 min")]
)
def test_times_are_spoken(seconds, words):
    assert spoken(seconds) == words


def test_the_command_line(cats_and_dogs_file, tmp_path):
    def run(*arguments):
        given = ["atlas", cats_and_dogs_file, "--layer", "conv2d_12", "--recipe", "chollet", "--size", 16, "--steps", 1]
        return CliRunner().invoke(main, [str(each) for each in (*given, *arguments)], prog_name="jaxviz")

    out = tmp_path / "a.zarr"
    done = run("--out", out, "--no-robust", "--dry-run")
    assert "filters in" in done.stdout
    assert not out.exists()
    for i in (0, 1):
        done = run("--out", out, "--no-robust", "--chunk", 16, "--shard", f"{i}/2")
        assert done.exit_code == 0, done.output
    filters = len(jv.open_atlas(out)["conv2d_12"])
    assert f"{out}: {filters} of {filters} filters" in done.stdout
    for arguments, why in ((("--shard", "5/4"), "of four, the first is 0/4"), (("--seed", 1), "key.data is")):
        done = run("--out", out, "--no-robust", "--chunk", 16, *arguments)
        assert done.exit_code == 2
        assert why in done.stderr
        assert len(done.stderr.splitlines()) == 1
