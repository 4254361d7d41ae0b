"""The structure of the code: which module may import which.

Law: imports point down the list `FLOORS`, and never in a circle, so a module can be understood from those below it.
Law: a package such as h5py or matplotlib is imported in few files, `SOLE_USERS`, so it can be replaced there.
Law: the public names are those that a module lists in its `__all__`; names of an earlier version still work.
"""

import ast
import importlib
import sys
from pathlib import Path

import pytest

import jaxviz as jv
import weights_convert

ROOT = Path(__file__).parent.parent
PACKAGES = ("jaxviz", "weights_convert")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# {what is imported: the only files that may import it}
SOLE_USERS = {
    "h5py": {"weights_convert/files/hdf5.py", "weights_convert/files/write_keras.py"},
    "onnx": {"weights_convert/files/onnx.py"},
    "safetensors": {
        "weights_convert/files/safetensors.py",
        "jaxviz/networks/checkpoints.py",
        "jaxviz/networks/parameter_files.py",
    },
    "orbax": {"jaxviz/networks/parameter_files.py"},
    "pooch": {"jaxviz/networks/fetch.py", "jaxviz/compiling/cache.py"},
    "matplotlib": {
        "jaxviz/rendering/figures.py",
        "jaxviz/rendering/curves.py",
        "jaxviz/rendering/portraits.py",
        "jaxviz/filters/portrait.py",
        "jaxviz/cli/methods.py",
        "jaxviz/rendering/rgb.py",
    },
    "PIL": {"jaxviz/rendering/images.py"},
    "click": {
        "jaxviz/cli/arguments.py",
        "jaxviz/cli/climbing.py",
        "jaxviz/cli/commands.py",
        "jaxviz/cli/dreaming.py",
        "jaxviz/cli/exits.py",
        "jaxviz/cli/explaining.py",
        "jaxviz/cli/sites.py",
        "jaxviz/cli/whole.py",
        "weights_convert/__main__.py",
    },
    "zarr": {"jaxviz/atlases/store.py"},
    "distributed": {"jaxviz/atlases/workers.py"},
    "pandas": {"jaxviz/atlases/read.py"},
    "tensorboardX": {"jaxviz/training/writers.py"},
    "jax.extend": {"jaxviz/compiling/workarounds.py"},
    "jax._src": {"jaxviz/compiling/workarounds.py"},
    "flax.linen": {
        "jaxviz/networks/calls.py",
        "jaxviz/networks/checkpoints.py",
        "jaxviz/networks/forwards.py",
        "jaxviz/networks/wrap.py",
    },
}

# Pictures are made from arrays of numbers: these files import no model and no JAX.
PURE = {
    "rendering/rgb.py",
    "rendering/figures.py",
    "rendering/curves.py",
    "rendering/portraits.py",
    "rendering/images.py",
    "rendering/ranks.py",
    "errors.py",
    "checks.py",
}

# The floors of `jaxviz`, the highest first. A module imports modules of its own floor and of the floors below it. Each
# name is a folder (a room) or a single file. `DOORS` only hand names on, so they may import from every floor.
FLOORS = (
    ("cli", "page"),
    ("atlases", "trust"),
    ("training",),
    ("attribution", "filters"),
    ("ascent",),
    ("rendering",),
    ("networks",),
    ("forward_pass", "targets", "own_objectives"),
    (
        "paths",
        "tokens",
        "interventions",
        "groups",
        "comparisons",
        "regions",
        "regularizers",
        "objectives",
        "geometry",
        "structure",
        "model",
    ),
    ("compiling",),
    ("checks", "keys", "results", "errors"),
)
DOORS = ("__init__.py", "__main__.py", "moved.py")


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def dotted(path: Path) -> str:
    """`weights_convert.layers.kind` of a file; the name of a package is that of its `__init__.py`."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found = set()
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            start = [] if not statement.level else path.relative_to(ROOT).parts[: -statement.level]
            module = ".".join([*start, *([statement.module] if statement.module else [])])
            found |= {f"{module}.{alias.name}" for alias in statement.names} | ({module} if statement.module else set())
    return found


def reaches(path: Path, target: str) -> bool:
    return any(found == target or found.startswith(f"{target}.") for found in imports(path))


@pytest.mark.parametrize("target", SOLE_USERS)
def test_one_place_knows(target):
    assert {name(path) for path in MODULES if reaches(path, target)} <= SOLE_USERS[target]


def test_the_converter_stands_alone():
    assert not [
        name(path) for path in MODULES if dotted(path).startswith("weights_convert") and reaches(path, "jaxviz")
    ]


def test_pictures_know_of_no_model():
    for path in MODULES:
        if name(path).removeprefix("jaxviz/") in PURE:
            assert not reaches(path, "jax"), name(path)
            ours = {found.split(".")[1] for found in imports(path) if found.startswith("jaxviz.")}
            assert ours <= {"rendering", "errors", "checks"}, name(path)


def arrows() -> dict[str, set[str]]:
    """{module: the modules of ours that it imports}, without the doors."""
    modules = {dotted(path): path for path in MODULES if path.name not in DOORS}

    def module(found: str) -> str:
        """The module that an imported name belongs to."""
        while found and found not in modules:
            found = found.rpartition(".")[0]
        return found

    return {name: {module(found) for found in imports(path)} - {name, ""} for name, path in modules.items()}


def test_no_module_imports_itself_in_a_circle():
    found = arrows()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        for other in found[name]:
            visit(other, (*trail, name))

    for name in found:
        visit(name, ())


def test_arrows_point_down():
    floors = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    for name, others in arrows().items():
        for other in others:
            if name.startswith("jaxviz.") and other.startswith("jaxviz."):
                upper, lower = (floors[each.split(".")[1]] for each in (name, other))
                assert upper <= lower, f"{name} imports {other}, which is on a floor above it"


def public(path: Path) -> list[str]:
    """The names in the `__all__` of a module."""
    for statement in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == "__all__":
            return ast.literal_eval(statement.value)
    return []


def test_public_names_are_those_that_modules_list():
    """`jaxviz` hands on every `__all__`, and no name is listed twice."""
    listed = [each for path in MODULES if name(path).startswith("jaxviz/") for each in public(path)]
    assert len(listed) == len(set(listed))
    assert set(listed) <= set(vars(jv))


def test_no_public_function_hides_its_module():
    """`jaxviz.x.y` is the module of that name, also where the package `jaxviz.x` has other public names."""
    for path in MODULES:
        if path.name not in ("__init__.py", "__main__.py"):
            module = importlib.import_module(dotted(path))
            package, _, stem = dotted(path).rpartition(".")
            assert getattr(sys.modules[package], stem) is module, dotted(path)


def test_old_module_names_are_the_same_modules():
    for old, new in jv.moved.MOVED.items():
        assert importlib.import_module(f"jaxviz.{old}") is importlib.import_module(f"jaxviz.{new}")
    for old, new in weights_convert.moved.MOVED.items():
        found = importlib.import_module(f"weights_convert.{old}")
        assert found is importlib.import_module(f"weights_convert.{new}")
