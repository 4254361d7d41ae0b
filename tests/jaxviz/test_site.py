"""The site of an atlas, as files; `test_site_in_browser.py` opens it.

Laws:
- A site is whole, or it is not there: whatever was in the folder stays until the new one is finished.
- Only a site of ours is replaced.
- No text of an atlas is in a path, and each text is data of a script or escaped in the page.
- Of an atlas that is not finished, the site has what there is, and says how much is missing.
- The pictures of no more than one sheet are in memory.
"""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image
from synthetic_atlas import CROPS, HOSTILE, write_atlas

import jaxviz as jv
from jaxviz.atlases.values import Values
from jaxviz.cli.commands import main
from jaxviz.page import site as site_module
from jaxviz.page.sheets import SHEET, SMALL


@pytest.fixture(scope="module")
def atlas(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("atlas") / "a.zarr"
    write_atlas(path, {"conv_1": 20, "conv_2": SHEET + 10}, dead=[3], lost=[5], missing=40)
    return path


@pytest.fixture(scope="module")
def site(atlas) -> Path:
    return jv.write_site(atlas.parent / "site", atlas).parent


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"), float)


def called(path: Path) -> list:
    """The arguments with which a script calls its function."""
    text = path.read_text(encoding="ascii")
    return json.loads(f"[{re.fullmatch(r'[a-z]+[(](.*)[)]', text.strip(), re.DOTALL)[1]}]")


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_pictures_are_those_of_the_atlas(site, atlas):
    """To the loss of WebP, which is largest for noise: the mean of each part of a picture stays."""
    layer = jv.open_atlas(atlas)["conv_1"]
    for kind, values in (("filter", layer.image), ("exact", layer.exact)):
        blocks = [
            each.reshape(4, 8, 4, 8, 3).mean((1, 3))
            for each in (picture(site / f"atlas-0/layer-0/{kind}-7.webp"), values[7])
        ]
        assert np.abs(blocks[0] - blocks[1]).max() < 6
    assert picture(site / "atlas-0/layer-0/crops-7.webp").shape == (16, 16 * CROPS, 3)


def test_filters_without_a_picture_have_none(site):
    """3 is dead, 5 is lost, and the last 40 of the second layer are missing: a chunk of 32 and a part of one."""
    names = {path.name for path in (site / "atlas-0/layer-0").glob("filter-*")}
    assert names == {f"filter-{i}.webp" for i in range(20) if i not in (3, 5)}
    sheet = picture(site / "atlas-0/layer-0/sheet-0.webp")
    assert sheet.shape == (2 * 32, 16 * 32, 3)
    dead, alive = (sheet[:32, 32 * i : 32 * (i + 1)].mean() for i in (3, 4))
    assert dead < 8 < 40 < alive
    assert len(list((site / "atlas-0/layer-1").glob("filter-*"))) == SHEET + 10 - 40


def test_what_is_missing_is_said(site, atlas):
    (known,), rows = called(site / "data.js")
    assert rows == [[0], [1]]
    first, second = known["layers"]
    assert first["states"] == {"dead": [3], "lost": [5], "missing": []}
    assert second["states"]["missing"] == list(range(SHEET - 30, SHEET + 10))
    assert second["scores"][-1] is first["scores"][5] is None
    assert second["scores"][2] == pytest.approx(float(jv.open_atlas(atlas)["conv_2"].scores[2][-1]), rel=1e-3)
    page = (site / "index.html").read_text(encoding="utf-8")
    assert f"{SHEET + 30} filters in 2 layers · 1 dead" in page
    assert "not finished: 40 are not computed yet" in page


def test_details_are_those_of_the_atlas(site, atlas):
    layer = jv.open_atlas(atlas)["conv_1"]
    place, number, details = called(site / "atlas-0/layer-0/sheet-0.js")
    assert (place, number) == ("atlas-0/layer-0", 0)
    np.testing.assert_allclose(details["curves"][2], layer.scores[2], rtol=1e-3)
    assert [file for file, _ in details["crops"][2]] == layer.crop_files[2]
    np.testing.assert_allclose([score for _, score in details["crops"][2]], layer.crop_scores[2], rtol=1e-3)
    weights = np.asarray(layer.weights)
    nearest, likeness = details["neighbours"]["weights"][2][0]
    cosines = weights @ weights[2] / np.linalg.norm(weights, axis=1) / np.linalg.norm(weights[2])
    assert nearest == np.argsort(cosines)[-2]
    assert likeness == pytest.approx(cosines[nearest], abs=1e-3)
    assert details["neighbours"]["pictures"][3] == []  # dead


def test_no_text_is_in_a_path_or_becomes_html(tmp_path):
    write_atlas(tmp_path / "a.zarr", dict.fromkeys(HOSTILE, 2))
    write_atlas(tmp_path / "b.zarr", {f"plain_{i}": 2 for i, _ in enumerate(HOSTILE)})
    hostile, plain = (jv.write_site(tmp_path / name, tmp_path / f"{name}.zarr").parent for name in "ab")
    assert files(hostile).keys() == files(plain).keys()
    for name in files(plain):
        assert re.fullmatch(r"[a-z]+\.(html|css|js|svg)|atlas-0/layer-\d+/[a-z]+-\d+\.(js|webp)", name)

    def elements(page: Path) -> list[str]:
        found: list[str] = []
        parser = HTMLParser()
        parser.handle_starttag = lambda tag, attributes: found.append(f"{tag} {sorted(dict(attributes))}")
        parser.feed(page.read_text(encoding="utf-8"))
        return found

    assert elements(hostile / "index.html") == elements(plain / "index.html")
    ((known,), _) = called(hostile / "data.js")
    assert [layer["name"] for layer in known["layers"]] == list(HOSTILE)
    assert not re.search(r"[<>&]", (hostile / "data.js").read_text(encoding="ascii"))


def test_images_of_other_channels_and_sizes(tmp_path):
    """Pictures larger than SMALL are made smaller for the sheet; grey images are shown as grey."""
    write_atlas(tmp_path / "a.zarr", {"conv": 3}, size=(96, 144), channels=1, crops=False)
    folder = jv.write_site(tmp_path / "site", tmp_path / "a.zarr").parent / "atlas-0/layer-0"
    assert picture(folder / "sheet-0.webp").shape == (64, 3 * SMALL, 3)
    assert picture(folder / "filter-0.webp").shape == (96, 144, 3)
    exact = picture(folder / "exact-0.webp")
    assert np.ptp(exact, axis=2).max() <= 4
    assert not list(folder.glob("crops-*"))


def test_a_site_is_replaced_and_files_beside_it_stay(tmp_path, atlas):
    write_atlas(tmp_path / "small.zarr", {"conv": 2})
    out = tmp_path / "site"
    jv.write_site(out, atlas, tmp_path / "small.zarr")
    (out / "CNAME").write_text("a name")
    (out / "atlas-notes").mkdir()
    jv.write_site(out, tmp_path / "small.zarr")
    assert (out / "CNAME").read_text() == "a name"
    (out / "atlas-notes").rmdir()
    (out / "CNAME").unlink()
    jv.write_site(tmp_path / "new", tmp_path / "small.zarr")
    assert files(out) == files(tmp_path / "new")


def test_an_interrupted_site_leaves_the_one_before(tmp_path, atlas, monkeypatch):
    write_atlas(tmp_path / "small.zarr", {"conv": 2})
    before = files(jv.write_site(tmp_path / "site", tmp_path / "small.zarr").parent)

    def interrupted(*arguments):
        write_layer(*arguments)
        raise KeyboardInterrupt

    write_layer = site_module.write_layer
    monkeypatch.setattr(site_module, "write_layer", interrupted)
    with pytest.raises(KeyboardInterrupt):
        jv.write_site(tmp_path / "site", atlas)
    assert files(tmp_path / "site") == before


def test_a_folder_of_something_else_is_refused(tmp_path, atlas):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "index.html").write_text("<h1>My thesis</h1>")
    (tmp_path / "file").write_text("text")
    before = files(tmp_path)
    with pytest.raises(jv.InputError, match=r"new or empty folder.*thesis', in which are index.html"):
        jv.write_site(tmp_path / "thesis", atlas)
    with pytest.raises(jv.InputError, match="given: the file"):
        jv.write_site(tmp_path / "file", atlas)
    for atlases in ((), (atlas,) * 3):
        with pytest.raises(jv.InputError, match=f"one atlas, or two.*given: {len(atlases)}"):
            jv.write_site(tmp_path / "site", *atlases)
    with pytest.raises(jv.InputError, match=r"nothing\.zarr"):
        jv.write_site(tmp_path / "site", tmp_path / "nothing.zarr")
    assert files(tmp_path) == before
    assert not (tmp_path / "site").exists()


def test_no_more_than_one_sheet_is_read_at_once(tmp_path, atlas, monkeypatch):
    read, counts = Values.__getitem__, []

    def counted(values, index):
        found = read(values, index)
        if values.shape[1:] == (32, 32, 3):
            counts.append(len(found))
        return found

    monkeypatch.setattr(Values, "__getitem__", counted)
    jv.write_site(tmp_path / "site", atlas)
    assert max(counts) <= SHEET
    assert sum(counts) == 2 * (20 + SHEET + 10 - 40)  # each picture and each image once


def test_the_command(tmp_path, atlas, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = CliRunner()
    done = run.invoke(main, ["page", str(atlas)])
    assert (done.exit_code, done.stdout) == (0, "open site/index.html\n"), done.stderr
    assert (tmp_path / "site" / "index.html").exists()
    failed = run.invoke(main, ["page", str(atlas), "--out", "."])
    assert failed.exit_code == 2
    assert failed.stderr == (
        "jaxviz: a site is written to a new or empty folder, or over another site of jaxviz; given: '.', in which are "
        "site\n"
    )
