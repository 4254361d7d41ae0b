"""The structure of the code, as the import arrows of its modules: what may know of what."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("jaxviz", "weights_convert")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

# What only one place may know: (what is imported, who may).
SOLE_USERS = {
    "h5py": {"weights_convert/hdf5.py", "weights_convert/write_keras.py"},
    "onnx": {"weights_convert/onnx.py"},
    "safetensors": {"weights_convert/safetensors.py"},
    "pooch": {"jaxviz/fetch.py"},
    "matplotlib": {"jaxviz/figures.py", "jaxviz/methods.py", "jaxviz/rgb.py"},
    "PIL": {"jaxviz/images.py"},
    "click": {"jaxviz/cli.py", "jaxviz/commands.py", "weights_convert/__main__.py"},
    "tensorboardX": {"jaxviz/monitor.py"},
    "flax.linen": {"jaxviz/forwards.py", "jaxviz/wrap.py"},
}

# Pictures are made of numbers: these know of no model and no JAX.
PURE = {"jaxviz/rgb.py", "jaxviz/figures.py", "jaxviz/images.py", "jaxviz/errors.py", "jaxviz/checks.py"}


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
        if name(path) in PURE:
            assert not reaches(path, "jax"), name(path)
            ours = {found.split(".")[1] for found in imports(path) if found.startswith("jaxviz.")}
            assert ours <= {"rgb", "images", "errors", "checks"}, name(path)


def test_no_module_imports_itself_in_a_circle():
    ends = {
        *PACKAGES,
        "weights_convert.__main__",
        "jaxviz.cli",
        "jaxviz.demo",
    }  # they import all, and only in functions
    modules = {dotted(path): path for path in MODULES if dotted(path) not in ends}

    def module(found: str) -> str:
        """The module that a name is of."""
        while found and found not in modules:
            found = found.rpartition(".")[0]
        return found

    arrows = {name: {module(found) for found in imports(path)} - {name, ""} for name, path in modules.items()}

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        for other in arrows[name]:
            visit(other, (*trail, name))

    for name in modules:
        visit(name, ())


def test_public_names_are_explicit():
    for package in PACKAGES:
        tree = ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))
        assert all(isinstance(statement, (ast.ImportFrom, ast.Expr)) for statement in tree.body)
        for statement in tree.body:
            if isinstance(statement, ast.ImportFrom):
                assert all(alias.asname == alias.name for alias in statement.names)
