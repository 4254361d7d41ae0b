"""A static web site of one atlas, or of two side by side, that a browser opens from a folder, without a server.

    index.html         the page; without JavaScript, it shows the sheets of all layers
    data.js            what the page knows from the beginning: the layers, and the last scores of their filters
    *.js, site.css …   the program of the page, from the folder `browser` of this package
    atlas-0/layer-3/   the files of a layer: see `sheets.py`

Law: a site loads nothing from elsewhere. Text of an atlas is shown as text, and is in no path.
"""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from jaxviz.atlases.read import open_atlas
from jaxviz.compiling.batches import progress
from jaxviz.errors import InputError
from jaxviz.page import html
from jaxviz.page.html import Html, Illustration
from jaxviz.page.pairs import pairs
from jaxviz.page.sheets import COLUMNS, SHEET, write_layer

__all__ = ["write_site"]

STYLE, ICON = "site.css", "icon.svg"
PROGRAM = ("drawing.js", "sheets.js", "filter.js", "search.js", "site.js")  # each uses those before it
DATA = "data.js"  # the last script: it starts the page
INDEX = "index.html"
OURS = re.compile(r"atlas-\d")  # the folders of a site
UNFINISHED = ".jaxviz-"  # the first letters of the folder in which a site is written

# A browser runs the scripts of the site only, and loads its files only: nothing inline, nothing from elsewhere.
POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'none'"
MARK = '<meta name="generator" content="jaxviz">'  # by which a later call knows that it may replace the site


def write_site(out: str | os.PathLike[str], *atlases: str | os.PathLike[str]) -> Path:
    """The path of the page of a static web site, which is written: the filters of all layers of an atlas.

    The page opens from the folder, and from any server of files. A click on a filter shows its large picture, its
    scores at each step, its receptive field, the crops of photographs that excite it most, and the filters whose
    weights or pictures are most alike. Of an atlas that is not finished, the page shows what there is, and says how
    much is missing.

    Args:
        out: the folder, which is made. A site that is there already is replaced when the new one is complete; other
            files beside it stay.
        atlases: the path of an atlas, or of two that are shown side by side: two steps of a training, or two networks.
            Layers of one name stand in one row.

    Raises:
        InputError: no atlas or more than two, one that cannot be read, or a folder that holds files, but no site.
    """
    if not 1 <= len(atlases) <= 2:
        raise InputError(f"a site shows one atlas, or two side by side; given: {len(atlases)}")
    opened = {f"atlas-{i}": open_atlas(path) for i, path in enumerate(atlases)}
    folder = Path(out)
    _check_folder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    total = sum(len(layer) for atlas in opened.values() for layer in atlas)
    # What is interrupted here leaves the site that was there before as it was.
    with tempfile.TemporaryDirectory(prefix=UNFINISHED, dir=folder) as unfinished, progress(total, "filter") as bar:
        known = [
            {
                "name": _stem(path),
                "manifest": _lines(atlas.manifest),
                "layers": [
                    write_layer(layer, Path(unfinished), f"{place}/layer-{layer.number}", bar) for layer in atlas
                ],
            }
            for path, (place, atlas) in zip(atlases, opened.items(), strict=True)
        ]
        _write_page(Path(unfinished), known)
        _replace(folder, Path(unfinished))
    return folder / INDEX


def _write_page(folder: Path, known: list[dict[str, Any]]) -> None:
    """The page, its program and its data, from what it knows of each atlas."""
    names = [[layer["name"] for layer in atlas["layers"]] for atlas in known]
    rows = pairs(*names) if len(known) == 2 else [(i,) for i in range(len(names[0]))]
    browser = files("jaxviz.page") / "browser"
    for name in (*PROGRAM, STYLE, ICON):
        (folder / name).write_bytes((browser / name).read_bytes())
    (folder / DATA).write_text(html.call("start", known, rows), encoding="ascii")

    title = " and ".join(atlas["name"] for atlas in known)
    policy = f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
    links = [f'<link rel="stylesheet" href="{STYLE}">', f'<link rel="icon" href="{ICON}">']
    scripts = [f'<script src="{name}" defer></script>' for name in (*PROGRAM, DATA)]
    head = Html("\n".join([policy, MARK, *links, *scripts]))
    still = [_section(atlas["layers"][i]) for row in rows for atlas, i in zip(known, row, strict=True) if i is not None]
    summary, missing = _summary([layer for atlas in known for layer in atlas["layers"]])
    body = Template((browser / "site.html").read_text(encoding="utf-8")).substitute(
        title=html.escape(title),
        summary=html.escape(summary),
        missing=html.escape(missing),
        sheets="\n".join(still),
    )
    html.write_document(folder / INDEX, title, head, Html(body))


def _summary(layers: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """How much a site shows, and what is missing, in words."""
    filters = sum(layer["filters"] for layer in layers)
    dead, missing = (sum(len(layer["states"][state]) for layer in layers) for state in ("dead", "missing"))
    summary = f"{filters:,} filters in {len(layers)} layers" + (f" · {dead:,} dead" if dead else "")
    return summary, f" · not finished: {missing:,} are not computed yet" if missing else ""


def _section(layer: Mapping[str, Any]) -> Html:
    """The sheets of a layer, as a browser without JavaScript shows them."""
    black = "; black: no picture" if any(layer["states"].values()) else ""
    sheets = [
        Illustration(
            f"{layer['folder']}/sheet-{start // SHEET}.webp",
            f"Filters {start} to {min(start + SHEET, layer['filters']) - 1}, {COLUMNS} in a row{black}",
        )
        for start in range(0, layer["filters"], SHEET)
    ]
    return html.section(layer["name"], ", ".join(layer["facts"]), sheets, layout="wide")


def _stem(path: str | os.PathLike[str]) -> str:
    """The name of an atlas, from its path or address: `vgg16` of `s3://atlases/vgg16.zarr/`."""
    return os.fspath(path).rstrip("/\\").replace("\\", "/").rpartition("/")[2].removesuffix(".zarr")


def _lines(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a manifest says, as pairs of text; what is inside of another value has a key such as `versions: jax`."""
    found: list[tuple[str, str]] = []
    for key, value in manifest.items():
        if isinstance(value, Mapping):
            found += [(f"{key}: {inner}", text) for inner, text in _lines(value)]
        else:
            found.append((str(key), value if isinstance(value, str) else json.dumps(value)))
    return found


def _check_folder(folder: Path) -> None:
    """Refuse a folder that holds something else than a site.

    Raises:
        InputError: it does, or it is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"a site is a folder; given: the file {os.fspath(folder)!r}. Name a new folder")
    names = [path.name for path in folder.iterdir()] if folder.exists() else []
    page = folder / INDEX
    ours = page.is_file() and MARK in page.read_text(encoding="utf-8", errors="replace")
    if not ours and not all(name.startswith(UNFINISHED) for name in names):
        raise InputError(
            "a site is written to a new or empty folder, or over another site of jaxviz; given: "
            f"{os.fspath(folder)!r}, in which are {', '.join(sorted(names)[:3])}{' …' if names[3:] else ''}"
        )


def _replace(folder: Path, new: Path) -> None:
    """Move a finished site to its folder, in place of an older one, whose page is replaced last."""
    for old in folder.iterdir():
        if (OURS.fullmatch(old.name) or old.name.startswith(UNFINISHED)) and old.is_dir() and old.name != new.name:
            shutil.rmtree(old)
    for path in sorted(new.iterdir(), key=lambda path: path.name == INDEX):
        path.replace(folder / path.name)
