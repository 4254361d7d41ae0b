"""Operations that reduce axes: sums, maxima, norms, products of matrices. None crosses the batch."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from . import options as o
from .kind import Config, Kind
from .operands import AXES, TWO, all_within, filled, one_within, operation, spelled
from .options import Option

ONE_AXIS = {"axis": Option(o.optional(o.axis), None)}
REDUCTION = {"axis": AXES, "keepdims": Option(o.flag, False)}


def _reduced(function: Callable[..., Array], config: Config, x: Array) -> Array:
    axes = all_within(config["axis"], x.ndim)
    return function(x, axis=axes, keepdims=config["keepdims"]).astype(x.dtype)


def _reduction(function: Callable[..., Array], name: str, *, module: str = "numpy") -> Kind:
    tensorflow = {name: "input_tensor axis keepdims"} if name else {}
    return operation(module, partial(_reduced, function), REDUCTION, tensorflow=tensorflow)


def _norm(config: Config, x: Array) -> Array:
    axes = all_within(config["axis"], x.ndim)
    if config["ord"] == 2 and len(axes) > 1:
        raise ValueError("the greatest singular value of matrices, which is not supported")
    return jnp.sqrt(jnp.square(x).sum(axes, keepdims=config["keepdims"]))


def _average(config: Config, x: Array) -> Array:
    return x.mean(one_within(config["axis"], x.ndim))


def _euclidean(value: object) -> int | None:
    """The reader of the order of a norm. All three mean the same, but for matrices, where 2 is another norm."""
    if value not in (None, 2, "euclidean", "fro"):
        raise ValueError("2 or 'fro', the Euclidean norm")
    return 2 if value == 2 else None


def _truth(function: Callable[..., Array]) -> Callable[..., Array]:
    return lambda x, **options: function(x != 0, **options)


def _moments(config: Config, x: Array) -> tuple[Array, Array]:
    axes = all_within(config["axes"], x.ndim)
    return x.mean(axes, keepdims=config["keepdims"]), x.var(axes, keepdims=config["keepdims"])


def _argmax(config: Config, x: Array) -> Array:
    return jnp.argmax(x, one_within(config["axis"], x.ndim), keepdims=config["keepdims"]).astype(x.dtype)


def _cumsum(config: Config, x: Array) -> Array:
    return jnp.cumsum(x, one_within(config["axis"], x.ndim))


def _matmul(config: Config, *xs: Array) -> Array:
    a, b = filled(config, xs)
    left, right = (given is None for given in config["arguments"])
    x, constant = (a, b) if left else (b, a)
    # The last two axes are those of matrices. An axis before them is that of the batch, unless x [n c] is on the left.
    if left and right:
        apart = a.ndim == b.ndim > 2
    elif x.ndim < 2 + right:
        apart = False
    else:
        apart = constant.ndim <= max(2, x.ndim - 1) or (constant.ndim == x.ndim and len(constant) == 1)
    if not apart:
        raise ValueError("a product along the batch")
    return a @ b


def _product(given: dict[str, Any]) -> dict[str, Any]:
    """TensorFlow's matmul can transpose its operands: a constant is transposed here, a tensor by an equation."""
    flags = {name: given.pop(f"transpose_{name}", False) for name in "ab"}
    for name, operand in (("a", "x1"), ("b", "x2")):
        if flags[name] and isinstance(given.get(operand), list):
            given[operand] = np.swapaxes(given[operand], -1, -2).tolist()
            flags[name] = False
    if not any(flags.values()):
        return given
    dots = ["" if isinstance(given.get(operand), list) else "..." for operand in TWO]
    terms = "ji" if flags["a"] else "ij", "kj" if flags["b"] else "jk"
    subscripts = ",".join(f"{dot}{term}" for dot, term in zip(dots, terms, strict=True)) + "->...ik"
    return given | {"kind": "ops.Einsum", "subscripts": subscripts}


def _einsum(config: Config, *xs: Array) -> Array:
    subscripts = config["subscripts"].replace(" ", "")
    sources, arrow, target = subscripts.partition("->")
    terms = sources.split(",")
    if not arrow or len(terms) != len(config["arguments"]):
        raise ValueError("an equation with an arrow, and a term for each operand")
    tensors = [term for term, given in zip(terms, config["arguments"], strict=True) if given is None]
    rest = [term for term, given in zip(terms, config["arguments"], strict=True) if given is not None]
    batch = target[:1]
    inside = "".join(term.lstrip(".") if batch == "." else term[1:] for term in (*tensors, target))
    if {term[:1] for term in tensors} != {batch} or batch in inside or (batch != "." and batch in "".join(rest)):
        raise ValueError("a sum or a product along the batch")
    if batch == ".":
        ranks = {x.ndim - len(term.strip(".")) for x, term in zip(xs, tensors, strict=True)}
        if len(ranks) > 1 or min(ranks) < 1 or "." in "".join(rest):
            raise ValueError("a sum or a product along the batch")
    return jnp.einsum(subscripts, *filled(config, xs))


def _tensordot(config: Config, *xs: Array) -> Array:
    a, b = filled(config, xs)
    axes = config["axes"]
    if isinstance(axes, int):
        axes = (tuple(range(a.ndim - axes, a.ndim)), tuple(range(axes)))
    mine, theirs = ((each,) if isinstance(each, int) else each for each in axes)
    if config["arguments"][0] is not None or config["arguments"][1] is None:
        raise ValueError("a product of two batches")
    return jnp.tensordot(a, b, (all_within(mine, a.ndim), theirs))


KINDS: dict[str, Kind] = {
    # reductions
    "ops.Mean": _reduction(jnp.mean, "math.reduce_mean"),
    "ops.Average": operation("numpy", _average, ONE_AXIS),
    "ops.Sum": _reduction(jnp.sum, "math.reduce_sum"),
    "ops.Max": _reduction(jnp.max, "math.reduce_max"),
    "ops.Amax": _reduction(jnp.max, ""),
    "ops.Min": _reduction(jnp.min, "math.reduce_min"),
    "ops.Amin": _reduction(jnp.min, ""),
    "ops.Prod": _reduction(jnp.prod, "math.reduce_prod"),
    "ops.Var": _reduction(jnp.var, "math.reduce_variance"),
    "ops.Std": _reduction(jnp.std, "math.reduce_std"),
    "ops.Any": _reduction(_truth(jnp.any), "math.reduce_any"),
    "ops.All": _reduction(_truth(jnp.all), "math.reduce_all"),
    "ops.Logsumexp": _reduction(jax.scipy.special.logsumexp, "math.reduce_logsumexp", module="math"),
    "ops.Norm": operation(
        "linalg",
        _norm,
        REDUCTION | {"ord": Option(_euclidean, None)},
        tensorflow={
            "norm": "tensor axis keepdims ord",
            "compat.v1.norm": "tensor axis keepdims ord",
            "math.reduce_euclidean_norm": "input_tensor axis keepdims",
        },
    ),
    "ops.Moments": operation("nn", _moments, {"axes": Option(o.axes), "keepdims": Option(o.flag, False)}, several=True),
    "ops.Argmax": operation(
        "numpy",
        _argmax,
        ONE_AXIS | {"keepdims": Option(o.flag, False)},
        tensorflow={"math.argmax": "input axis"},
    ),
    "ops.Cumsum": operation(
        "numpy",
        _cumsum,
        ONE_AXIS,
        tensorflow={"math.cumsum": "x axis"},
    ),
    # products
    "ops.Matmul": operation(
        "numpy",
        _matmul,
        operands=TWO,
        tensorflow={"linalg.matmul": spelled("a b transpose_a transpose_b", _product)},
    ),
    "ops.Einsum": operation(
        "numpy", _einsum, {"subscripts": Option(o.word)}, operands=("x1", "x2", "x3", "x4"), least=1
    ),
    "ops.Tensordot": operation(
        "numpy", _tensordot, {"axes": Option(o.nested, 2)}, operands=TWO, tensorflow={"tensordot": "a b axes"}
    ),
}
