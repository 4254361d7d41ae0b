"""What the documents say of the tree.

Laws:
- An example is Python, and each name `jv.x` is there.
- A link leads to a file; a room of ARCHITECTURE.md and a door of CONTRIBUTING.md are there, and no room is left out.
- Each public name is in the guide or the README, or in the help of a public name that is.
- CONTRIBUTING.md names the files of more than 300 lines, and no others.
- The changelog has each heading once for a version.
"""

import ast
import functools
import inspect
import re
from pathlib import Path

import pytest
from test_imports import FLOORS, MODULES, ROOT, name, public

import jaxviz as jv

DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
LONG = 300


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert not [link for link in links if not (document.parent / link).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_examples_are_python_and_name_what_is_there(document: Path):
    written = document.read_text(encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", written, re.DOTALL):
        ast.parse(block)
    for dotted in set(re.findall(r"\bjv\.(\w+(?:\.\w+)*)", written)):
        functools.reduce(getattr, dotted.split("."), jv)


def test_rooms_and_doors_are_there():
    drawing = text("ARCHITECTURE.md").split("## The rooms")[1].split("    weights_convert/")[0]
    there = {path.name for path in (ROOT / "jaxviz").rglob("*") if path.is_dir() or path.suffix == ".py"}
    drawn = {found.rstrip("/") for found in re.findall(r"(?<![\w/])(\w+/|\w+\.py)", drawing)} - {"tests"}
    planned = {"trust"}
    assert drawn - planned <= there
    floors = {room for floor in FLOORS for room in floor} - planned
    assert {found.removesuffix(".py") for found in drawn} >= floors
    doors = re.findall(r"`((?:jaxviz|weights_convert|tests)/[\w/]+\.py)`", text("CONTRIBUTING.md"))
    assert len(doors) > 20
    assert not [door for door in doors if not (ROOT / door).exists()]


def test_each_public_name_is_in_the_guide_or_one_step_from_it():
    names = {each for path in MODULES if name(path).startswith("jaxviz/") for each in public(path) if hasattr(jv, each)}
    told = names & words(text("docs/guide.md") + text("README.md"))
    near = {word for each in told for word in words(f"{inspect.getdoc(getattr(jv, each))}") & names}
    near |= {word for each in told if callable(getattr(jv, each)) for word in words(signature(each)) & names}
    assert names - told - near == set()


def signature(each: str) -> str:
    try:
        return str(inspect.signature(getattr(jv, each)))
    except ValueError:  # some exceptions have none
        return ""


def test_long_files_have_their_reason():
    long = {path.name for path in MODULES if len(path.read_text(encoding="utf-8").splitlines()) > LONG}
    sentence = text("CONTRIBUTING.md").split(f"A file of more than {LONG} lines")[1].split("\n- ")[0]
    assert set(re.findall(r"`(\w+\.py)`", sentence)) == long


def test_a_heading_of_the_changelog_is_there_once():
    for version in text("CHANGELOG.md").split("\n## ")[1:]:
        headings = re.findall(r"^(\w.*):$", version, re.MULTILINE)
        assert len(headings) == len(set(headings)), version[:5]
