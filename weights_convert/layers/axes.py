"""Operations along axes: reductions, and those that move, join, cut and repeat arrays. None crosses the batch."""

from collections.abc import Callable
from functools import partial
from itertools import accumulate
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from . import options as o
from .kind import LIST, Config, Effect, Kind
from .operands import TWO, all_within, filled, operation, spelled, within
from .options import Option

AXES = Option(o.optional(o.axes), None)
ONE_AXIS = {"axis": Option(o.optional(o.axis), None)}
REDUCTION = {"axis": AXES, "keepdims": Option(o.flag, False)}


def _reduced(function: Callable[..., Array], config: Config, x: Array) -> Array:
    axes = all_within(config["axis"], x.ndim)
    return function(x, axis=axes, keepdims=config["keepdims"]).astype(x.dtype)


def _reduction(
    function: Callable[..., Array], name: str, effect: Effect = Effect.OTHER, *, module: str = "numpy"
) -> Kind:
    tensorflow = {name: "input_tensor axis keepdims"} if name else {}
    return operation(module, partial(_reduced, function), REDUCTION, effect=effect, tensorflow=tensorflow)


def _norm(config: Config, x: Array) -> Array:
    axes = all_within(config["axis"], x.ndim)
    if config["ord"] == 2 and len(axes) > 1:
        raise ValueError("the greatest singular value of matrices, which is not supported")
    return jnp.sqrt(jnp.square(x).sum(axes, keepdims=config["keepdims"]))


def _one(axis: int | None, rank: int) -> int:
    """One axis, counted from 0; None stands for all numbers of the batch."""
    return all_within(None if axis is None else (axis,), rank)[0]


def _average(config: Config, x: Array) -> Array:
    return x.mean(_one(config["axis"], x.ndim))


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
    return jnp.argmax(x, _one(config["axis"], x.ndim), keepdims=config["keepdims"]).astype(x.dtype)


def _cumsum(config: Config, x: Array) -> Array:
    return jnp.cumsum(x, _one(config["axis"], x.ndim))


def _concatenate(config: Config, *xs: Array) -> Array:
    return jnp.concatenate(xs, within(config["axis"], xs[0].ndim))


def _stack(config: Config, *xs: Array) -> Array:
    return jnp.stack(xs, within(config["axis"], xs[0].ndim + 1))


def _split(config: Config, x: Array) -> list[Array]:
    pieces = config["indices_or_sections"]
    axis = within(config["axis"], x.ndim)
    if isinstance(pieces, int):
        return jnp.split(x, pieces, axis)
    return jnp.split(x, [place + x.shape[axis] if place < 0 else place for place in pieces], axis)


def _unstack(config: Config, x: Array) -> list[Array]:
    axis = within(config["axis"], x.ndim)
    return [jnp.squeeze(each, axis) for each in jnp.split(x, x.shape[axis], axis)]


def _sections(given: dict[str, Any]) -> dict[str, Any]:
    """TensorFlow gives the lengths of the pieces, Keras where they begin. One length may be -1: what is left."""
    pieces = given.get("indices_or_sections")
    if isinstance(pieces, list) and pieces:
        rest = pieces.index(-1) if -1 in pieces else len(pieces) - 1
        after = [-each for each in accumulate(reversed(pieces[rest + 1 :]))]  # counted from the end
        given["indices_or_sections"] = [*accumulate(pieces[:rest]), *reversed(after)]
    return given


def _reshape(config: Config, x: Array) -> Array:
    first, *rest = config["newshape"]
    if first != -1 and -1 in rest:
        raise ValueError("a batch of fixed length; write -1 as the first length of the new shape")
    return x.reshape(x.shape[0], *rest)


def _shape(value: object) -> tuple[int | None, ...]:
    """The reader of a new shape: the first length is that of the batch, which may be None."""
    if not isinstance(value, list | tuple) or not value:
        raise ValueError("a list of whole numbers")
    return tuple(-1 if each is None and place == 0 else o.integer(each) for place, each in enumerate(value))


def _expand(config: Config, x: Array) -> Array:
    axes = config["axis"]
    rank = x.ndim + len(axes)
    return jnp.expand_dims(x, all_within(axes, rank))


def _squeeze(config: Config, x: Array) -> Array:
    axes = config["axis"]
    ones = tuple(axis for axis in range(1, x.ndim) if x.shape[axis] == 1)
    return jnp.squeeze(x, ones if axes is None else all_within(axes, x.ndim))


def _transpose(config: Config, x: Array) -> Array:
    axes = config["axes"]
    if axes is None or axes[0] != 0:
        raise ValueError("moving the axis of the batch")
    return x.transpose(axes)


def _swapaxes(config: Config, x: Array) -> Array:
    return jnp.swapaxes(x, within(config["axis1"], x.ndim), within(config["axis2"], x.ndim))


def _moveaxis(config: Config, x: Array) -> Array:
    return jnp.moveaxis(x, all_within(config["source"], x.ndim), all_within(config["destination"], x.ndim))


def _pad(config: Config, x: Array) -> Array:
    widths = config["pad_width"]
    widths = ((widths, widths),) * x.ndim if isinstance(widths, int) else widths
    widths = widths * x.ndim if len(widths) == 1 else widths
    if len(widths) != x.ndim or tuple(widths[0]) != (0, 0):
        raise ValueError("padding the batch, or a pair of widths is missing for an axis")
    if config["mode"] == "constant":
        return jnp.pad(x, widths, constant_values=config["constant_values"] or 0.0)
    return jnp.pad(x, widths, config["mode"])


def _tile(config: Config, x: Array) -> Array:
    repeats = (1,) * (x.ndim - len(config["repeats"])) + config["repeats"]
    if len(repeats) != x.ndim or repeats[0] != 1:
        raise ValueError("repeating the batch, or adding an axis")
    return jnp.tile(x, repeats)


def _repeat(config: Config, x: Array) -> Array:
    times, axis = config["repeats"], _one(config["axis"], x.ndim)
    if len(times) == 1:
        return jnp.repeat(x, times[0], axis)
    return jnp.repeat(x, jnp.array(times), axis, total_repeat_length=sum(times))


def _flip(config: Config, x: Array) -> Array:
    return jnp.flip(x, all_within(config["axis"], x.ndim))


def _roll(config: Config, x: Array) -> Array:
    axes = config["axis"]
    if axes is None:
        raise ValueError("rolling the batch")
    shifts = config["shift"] if len(config["shift"]) > 1 else config["shift"] * len(axes)
    return jnp.roll(x, shifts, all_within(axes, x.ndim))


def _take(config: Config, x: Array) -> Array:
    axis, indices = _one(config["axis"], x.ndim), np.asarray(config["indices"])
    if indices.size and not -x.shape[axis] <= indices.min() <= indices.max() < x.shape[axis]:
        raise ValueError(f"an index outside of the {x.shape[axis]} numbers of axis {axis}")
    return jnp.take(x, jnp.asarray(indices), axis)


def _item(config: Config, x: Array) -> Array:
    key = tuple(... if item == "..." else slice(*item) if isinstance(item, tuple) else item for item in config["key"])
    used = len([item for item in key if item is not ... and item is not None])
    if key[0] not in (..., slice(None), slice(0, None), slice(None, None, 1)) or used > x.ndim - (key[0] is ...):
        raise ValueError("indexing the batch")
    return x[key]


def _padding(given: dict[str, Any]) -> dict[str, Any]:
    """TensorFlow gives a constant for every mode, Keras for one of them."""
    if str(given.get("mode", "constant")).lower() != "constant" or given.get("constant_values") == 0:
        given.pop("constant_values", None)
    return given


def _slice(given: dict[str, Any]) -> dict[str, Any]:
    """tf.slice: `begin` and `size` → the index; a size of -1 goes to the end."""
    begin, size = given.pop("key"), given.pop("size", None)
    if isinstance(begin, list) and isinstance(size, list) and len(begin) == len(size):
        given["key"] = [
            slice(start or None, None if length == -1 else start + length, None)
            for start, length in zip(begin, size, strict=True)
        ]
    return given


def _strided(given: dict[str, Any]) -> dict[str, Any]:
    """tf.strided_slice: lists of bounds, with bits that say where a bound does not count, → the index."""
    begin, end = given.pop("key"), given.pop("end", None)
    strides = given.pop("strides", None) or [1] * len(begin)
    masks = {name: given.pop(f"{name}_mask", 0) for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}

    def item(i: int) -> Any:
        at = {name for name, bits in masks.items() if bits >> i & 1}
        if "ellipsis" in at:
            return ...
        if "new_axis" in at:
            return None
        if "shrink_axis" in at:
            return begin[i]
        start = None if "begin" in at or begin[i] == 0 else begin[i]
        return slice(start, None if "end" in at else end[i], None if strides[i] == 1 else strides[i])

    given["key"] = [item(i) for i in range(len(begin))]
    return given


def _box(given: dict[str, Any]) -> dict[str, Any]:
    """tf.image.crop_to_bounding_box → the index."""
    top, left, height, width = (given.pop(name) for name in ("key", "offset_width", "target_height", "target_width"))
    every = slice(None)
    return given | {"key": [every, slice(top, top + height), slice(left, left + width)]}


def _last_two(given: dict[str, Any]) -> dict[str, Any]:
    return given | {"axis1": -1, "axis2": -2}


def _flipped(axis: int) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda given: given | {"axis": axis}


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


def _depth_to_space(config: Config, x: Array) -> Array:
    n, h, w, c = x.shape
    k = config["block_size"]
    return x.reshape(n, h, w, k, k, c // k**2).transpose(0, 1, 3, 2, 4, 5).reshape(n, h * k, w * k, c // k**2)


def _space_to_depth(config: Config, x: Array) -> Array:
    n, h, w, c = x.shape
    k = config["block_size"]
    return x.reshape(n, h // k, k, w // k, k, c).transpose(0, 1, 3, 2, 4, 5).reshape(n, h // k, w // k, c * k**2)


MODES = ("constant", "reflect", "symmetric")
KEY = {"key": Option(o.key)}
BLOCK = {
    "block_size": Option(o.size),
    "data_format": Option(o.lower("channels_last", "nhwc"), "channels_last"),
}
KINDS: dict[str, Kind] = {
    # reductions
    "ops.Mean": _reduction(jnp.mean, "math.reduce_mean", Effect.ADDS),
    "ops.Average": operation("numpy", _average, ONE_AXIS, effect=Effect.ADDS),
    "ops.Sum": _reduction(jnp.sum, "math.reduce_sum", Effect.ADDS),
    "ops.Max": _reduction(jnp.max, "math.reduce_max", Effect.MOVES),
    "ops.Amax": _reduction(jnp.max, "", Effect.MOVES),
    "ops.Min": _reduction(jnp.min, "math.reduce_min", Effect.MOVES),
    "ops.Amin": _reduction(jnp.min, "", Effect.MOVES),
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
        {"axis": Option(o.optional(o.axis), None), "keepdims": Option(o.flag, False)},
        tensorflow={"math.argmax": "input axis"},
    ),
    "ops.Cumsum": operation(
        "numpy",
        _cumsum,
        {"axis": Option(o.optional(o.axis), None)},
        effect=Effect.ADDS,
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
    # joining and cutting
    "ops.Concatenate": operation(
        "numpy",
        _concatenate,
        {"axis": Option(o.integer, 0)},
        operands=LIST,
        effect=Effect.MOVES,
        prepares="values",
        tensorflow={"concat": "values axis"},
    ),
    "ops.Stack": operation(
        "numpy",
        _stack,
        {"axis": Option(o.integer, 0)},
        operands=LIST,
        effect=Effect.MOVES,
        prepares="values",
        tensorflow={"stack": "values axis"},
    ),
    "ops.Split": operation(
        "numpy",
        _split,
        {"indices_or_sections": Option(o.nested), "axis": Option(o.integer, 0)},
        effect=Effect.MOVES,
        several=True,
        tensorflow={"split": spelled("value num_or_size_splits axis", _sections)},
    ),
    "ops.Unstack": operation(
        "core",
        _unstack,
        {"num": Option(o.optional(o.size), None), "axis": Option(o.integer, 0)},
        effect=Effect.MOVES,
        several=True,
        tensorflow={"unstack": "value num axis"},
    ),
    "ops.GetItem": operation(
        "numpy",
        _item,
        KEY,
        effect=Effect.MOVES,
        called=("key",),
        prepares="values",
        tensorflow={
            "__operators__.getitem": "x slice_spec",
            "slice": spelled("input_ begin size", _slice),
            "strided_slice": spelled(
                "input_ begin end strides begin_mask end_mask ellipsis_mask new_axis_mask shrink_axis_mask", _strided
            ),
            "image.crop_to_bounding_box": spelled("image offset_height offset_width target_height target_width", _box),
        },
    ),
    "ops.Take": operation(
        "numpy",
        _take,
        {"axis": Option(o.optional(o.integer), None), "indices": Option(o.nested)},
        effect=Effect.MOVES,
        called=("indices",),
        tensorflow={
            "gather": spelled("params axis indices", batch_dims=0),
            "compat.v1.gather": spelled("params axis indices", batch_dims=0),
        },
    ),
    # moving
    "ops.Reshape": operation(
        "numpy", _reshape, {"newshape": Option(_shape)}, effect=Effect.MOVES, tensorflow={"reshape": "tensor shape"}
    ),
    "ops.ExpandDims": operation(
        "numpy",
        _expand,
        {"axis": Option(o.axes)},
        effect=Effect.MOVES,
        tensorflow={"expand_dims": "input axis"},
    ),
    "ops.Squeeze": operation(
        "numpy",
        _squeeze,
        {"axis": AXES},
        effect=Effect.MOVES,
        tensorflow={"squeeze": "input axis", "compat.v1.squeeze": "input axis"},
    ),
    "ops.Transpose": operation(
        "numpy",
        _transpose,
        {"axes": AXES},
        effect=Effect.MOVES,
        tensorflow={
            "transpose": spelled("a perm", conjugate=False),
            "compat.v1.transpose": spelled("a perm", conjugate=False),
        },
    ),
    "ops.Swapaxes": operation(
        "numpy",
        _swapaxes,
        {"axis1": Option(o.integer), "axis2": Option(o.integer)},
        effect=Effect.MOVES,
        tensorflow={"linalg.matrix_transpose": spelled("a", _last_two, conjugate=False)},
    ),
    "ops.Moveaxis": operation(
        "numpy", _moveaxis, {"source": Option(o.axes), "destination": Option(o.axes)}, effect=Effect.MOVES
    ),
    "ops.Flip": operation(
        "numpy",
        _flip,
        {"axis": AXES},
        effect=Effect.MOVES,
        tensorflow={
            "reverse": "tensor axis",
            "image.flip_left_right": spelled("image", _flipped(-2)),
            "image.flip_up_down": spelled("image", _flipped(-3)),
        },
    ),
    "ops.Roll": operation(
        "numpy",
        _roll,
        {"shift": Option(o.axes), "axis": AXES},
        effect=Effect.MOVES,
        tensorflow={"roll": "input shift axis"},
    ),
    "ops.DepthToSpace": operation(
        "nn",
        _depth_to_space,
        BLOCK,
        effect=Effect.MOVES,
        tensorflow={"nn.depth_to_space": "input block_size data_format"},
    ),
    "ops.SpaceToDepth": operation(
        "nn",
        _space_to_depth,
        BLOCK,
        effect=Effect.MOVES,
        tensorflow={"nn.space_to_depth": "input block_size data_format"},
    ),
    # padding and repeating
    "ops.Pad": operation(
        "numpy",
        _pad,
        {
            "pad_width": Option(o.nested),
            "mode": Option(o.lower(*MODES), "constant"),
            "constant_values": Option(o.optional(o.number), None),
        },
        effect=Effect.COMBINES,
        called=("constant_values",),
        prepares="size",
        tensorflow=dict.fromkeys(("pad", "compat.v1.pad"), spelled("tensor paddings mode constant_values", _padding)),
    ),
    "ops.Tile": operation(
        "numpy", _tile, {"repeats": Option(o.axes)}, effect=Effect.MOVES, tensorflow={"tile": "input multiples"}
    ),
    "ops.Repeat": operation(
        "numpy",
        _repeat,
        {"repeats": Option(o.axes), "axis": Option(o.optional(o.integer), None)},
        effect=Effect.MOVES,
        tensorflow={"repeat": "input repeats axis"},
    ),
}
