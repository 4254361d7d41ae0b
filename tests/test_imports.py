"""The structure of the code, as the import arrows of its modules: what may know of what."""

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

# What only one place may know: (what is imported, who may).
SOLE_USERS = {
    "h5py": {"weights_convert/files/hdf5.py", "weights_convert/files/write_keras.py"},
    "onnx": {"weights_convert/files/onnx.py"},
    "safetensors": {"weights_convert/files/safetensors.py"},
    "pooch": {"jaxviz/networks/fetch.py", "jaxviz/compiling/cache.py"},
    "matplotlib": {"jaxviz/rendering/figures.py", "jaxviz/cli/methods.py", "jaxviz/rendering/rgb.py"},
    "PIL": {"jaxviz/rendering/images.py"},
    "click": {"jaxviz/cli/commands.py", "jaxviz/cli/exits.py", "weights_convert/__main__.py"},
    "tensorboardX": {"jaxviz/training/writers.py"},
    "jax.extend": {"jaxviz/compiling/workarounds.py"},
    "jax._src": {"jaxviz/compiling/workarounds.py"},
    "flax.linen": {"jaxviz/networks/forwards.py", "jaxviz/networks/wrap.py"},
}

# Pictures are made of numbers: these know of no model and no JAX.
PURE = {"rendering/rgb.py", "rendering/figures.py", "rendering/images.py", "errors.py", "checks.py"}

# Imports point down this list, or to another module on the same floor. A room is a folder; the nouns and the checks are
# files of their own. `__init__.py`, `__main__.py` and `moved.py` only hand names on.
FLOORS = (
    ("cli", "page"),
    ("atlas", "trust"),
    ("training",),
    ("attribution",),
    ("ascent",),
    ("rendering",),
    ("networks",),
    ("forward_pass", "targets", "objectives", "structure", "model"),
    ("compiling",),
    ("checks", "results", "errors"),
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
    """{module: the modules that it imports}, doors left out."""
    modules = {dotted(path): path for path in MODULES if path.name not in DOORS}

    def module(found: str) -> str:
        """The module that a name is of."""
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
    """Every `__all__` is handed on by `jaxviz`, and no name is listed twice."""
    listed = [each for path in MODULES if name(path).startswith("jaxviz/") for each in public(path)]
    assert len(listed) == len(set(listed))
    assert set(listed) <= set(vars(jv))


def test_no_public_function_hides_its_module():
    """`jaxviz.x.y` is the module of that name, whatever the package `jaxviz.x` hands on."""
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
