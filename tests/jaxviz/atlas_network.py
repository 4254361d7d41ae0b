"""A small network, and what an atlas of it holds, for the tests of atlases and for the processes that they start."""

from pathlib import Path

import numpy as np
from flax import linen as nn

import jaxviz as jv

SETTINGS = {"recipe": "chollet", "size": 30, "steps": 3, "chunk": 3}
MANY = {"recipe": "chollet", "size": 16, "steps": 3, "chunk": 1, "robust": False, "layers": ["second"]}


class Small(nn.Module):
    filters: int = 7

    @nn.compact
    def __call__(self, x):
        x = nn.max_pool(nn.relu(nn.Conv(5, (3, 3), name="first")(x)), (2, 2), (2, 2))
        x = nn.relu(nn.Conv(self.filters, (3, 3), name="second")(x))
        return nn.Dense(3, name="scores")(x.mean((1, 2)))


def network(filters: int = 7) -> jv.Model:
    """Its numbers are drawn by NumPy, so that a process that is killed soon need not compile anything for them."""
    draw = np.random.default_rng(0)
    shapes = {"first": (3, 3, 3, 5), "second": (3, 3, 5, filters), "scores": (filters, 3)}
    params = {
        name: {"kernel": draw.normal(0, 0.3, shape).astype(np.float32), "bias": np.zeros(shape[-1], np.float32)}
        for name, shape in shapes.items()
    }
    return jv.wrap(Small(filters), {"params": params}, image_shape=(16, 16, 3))


def contents(path: Path) -> dict[str, bytes]:
    """{name of a file: its bytes} of a store, but for its manifest, which has the date, and parts of dead writers."""
    files = [each for each in Path(path).rglob("*") if each.is_file() and each.suffix != ".partial"]
    return {each.relative_to(path).as_posix(): each.read_bytes() for each in files if each.parent != Path(path)}
