"""The structure of the code, as the import arrows of its modules: what may know of what."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("jaxviz", "weights_convert")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).glob("*.py"))

# What only one place may know: (what is imported, who may).
SOLE_USERS = {
    "h5py": {"weights_convert/hdf5.py"},
    "onnx": {"weights_convert/onnx.py"},
    "safetensors": {"weights_convert/safetensors.py"},
    "pooch": {"jaxviz/fetch.py"},
    "matplotlib": {"jaxviz/figures.py", "jaxviz/methods.py", "jaxviz/rgb.py"},
    "PIL": {"jaxviz/images.py"},
    "click": {"jaxviz/cli.py", "weights_convert/__main__.py"},
    "tensorboardX": {"jaxviz/monitor.py"},
    "flax.linen": {"jaxviz/forwards.py", "jaxviz/model.py"},
}

# Pictures are made of numbers: these know of no model and no JAX.
PURE = {"jaxviz/rgb.py", "jaxviz/figures.py", "jaxviz/images.py", "jaxviz/errors.py"}


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside a function."""
    found = set()
    for statement in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(statement, ast.Import):
            found |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom) and statement.module and not statement.level:
            found |= {statement.module, *(f"{statement.module}.{alias.name}" for alias in statement.names)}
        elif isinstance(statement, ast.ImportFrom):
            package = path.parent.name
            module = f"{package}.{statement.module}" if statement.module else package
            found |= {module, *(f"{module}.{alias.name}" for alias in statement.names)}
    return found


def reaches(path: Path, target: str) -> bool:
    return any(found == target or found.startswith(f"{target}.") for found in imports(path))


@pytest.mark.parametrize("target", SOLE_USERS)
def test_one_place_knows(target):
    assert {name(path) for path in MODULES if reaches(path, target)} <= SOLE_USERS[target]


def test_the_converter_stands_alone():
    assert not [name(path) for path in MODULES if path.parent.name == "weights_convert" and reaches(path, "jaxviz")]


def test_pictures_know_of_no_model():
    for path in MODULES:
        if name(path) in PURE:
            assert not reaches(path, "jax"), name(path)
            ours = {found.split(".")[1] for found in imports(path) if found.startswith("jaxviz.")}
            assert ours <= {"rgb", "images", "errors", "InputError"}, name(path)


def test_no_module_imports_itself_in_a_circle():

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " → ".join((*trail, module))
        for other in arrows.get(module, set()) & set(arrows):
            visit(other, (*trail, module))

    for package in PACKAGES:
        arrows = {
            path.stem: {found.split(".")[1] for found in imports(path) if found.startswith(f"{package}.")} - {path.stem}
            for path in (ROOT / package).glob("*.py")
            if path.stem not in ("__init__", "__main__", "cli", "demo")
        }
        for module in arrows:
            visit(module, ())


def test_public_names_are_explicit():
    for package in PACKAGES:
        tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
        assert all(isinstance(statement, (ast.ImportFrom, ast.Expr)) for statement in tree.body)
        for statement in tree.body:
            if isinstance(statement, ast.ImportFrom):
                assert all(alias.asname == alias.name for alias in statement.names)
