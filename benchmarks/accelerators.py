"""Claim: XLA's programs for TPUs and an H100 do the arithmetic that they should, in memory that fits, on no slow path.

    python benchmarks/accelerators.py "TPU v5e" "TPU v6e"      in an environment with `pip install libtpu==0.0.52`
    python benchmarks/accelerators.py "H100"                   in an environment with `pip install "jax[cuda12]"`
    python benchmarks/accelerators.py                          the page alone, from the results of all runs

No accelerator is needed: the programs are compiled, not run. So every number is calculated by XLA, or counted in the
text of its program; none is measured. The network is VGG16, without weights: shapes are enough.

- *arithmetic*: two for each multiplication of the traced program, without those with the zeros of a padding.
- *FLOPs*, *bytes*, *estimate*: by XLA's cost analysis, which there is for TPUs only. A loop counts as one step of it.
  XLA counts an operation that it cannot estimate as -1 second, which is added again.
- *cycles*: the sum of XLA's estimates for the operations of an ascent's step, or of the whole program of other work.
  XLA gives none for a scatter. Cycles, traffic and slow operations are read in the program's text, so a row has none of
  them where jaxlib cannot print the program, as some of the TPU v6e's.
- *traffic*: the bytes that the operations of the program's text read and write, as if no value stayed in a cache. The
  page's "GB moved" are XLA's bytes, and for the H100, of which it gives none, the traffic.
- *temporaries*: what the program uses between its inputs and its results, by XLA's plan of the memory.
- *roofline*: the least time, at the device's peak of products or of memory, whichever takes longer. The page's "share"
  is this time by XLA's estimate, which takes each operation to reach one of these peaks: the cycles are more careful.
"""

import argparse
import importlib.metadata
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import hlo
import numpy as np
from common import RESULTS

os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")  # libtpu's lock is for the use of a real TPU
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
import jax.numpy as jnp
from flax import nnx
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding

import jaxviz as jv
from jaxviz.ascent import slots
from jaxviz.ascent.arguments import as_constructor, with_fast_products
from jaxviz.attribution import cams, gradients, layer_maps, perturbation
from jaxviz.compiling.batches import fitting
from jaxviz.networks.keras import from_net
from weights_convert import ARCHITECTURES, KerasNet

H100 = """gpu_device_info { threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535 memory_bandwidth: 3352320000000
l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 84978434048 shared_memory_per_block_optin: 232448
cuda_compute_capability { major: 9 } registers_per_core_limit: 65536 registers_per_block_limit: 65536 }
platform_name: "CUDA" dnn_version_info { major: 9 minor: 8 } runtime_version { major: 12 minor: 8 }
device_description_str: "NVIDIA H100 80GB HBM3" """


class Target(NamedTuple):
    """A device, by the numbers of its maker: operations a second in each precision, bytes a second, bytes."""

    platform: str
    topology: Callable[[], Any]
    peaks: dict[str, float]
    bandwidth: float
    memory: float


def tpu(name: str) -> Callable[[], Any]:
    return lambda: topologies.get_topology_desc(name, "tpu")


# Google Cloud's pages of TPU v5e and v6e; NVIDIA's data sheet of the H100 SXM. A TPU computes a float32 product of
# precision "highest" in six passes of bfloat16, and one of precision "default" in one.
TARGETS = {
    "TPU v5e": Target(
        "tpu", tpu("v5e:2x2"), {"default": 197e12, "highest": 197e12 / 6, "bfloat16": 197e12}, 819e9, 16e9
    ),
    "TPU v6e": Target(
        "tpu", tpu("v6e:2x2"), {"default": 918e12, "highest": 918e12 / 6, "bfloat16": 918e12}, 1640e9, 32e9
    ),
    "H100": Target(
        "gpu",
        lambda: topologies.get_topology_desc("", "cuda", target_config=H100, topology="1x1x1"),
        {"default": 495e12, "highest": 67e12, "bfloat16": 989e12},
        3350e9,
        64e9,  # of 80: XLA plans with four fifths, and computes values twice where a program needs more
    ),
}
DTYPES = ("float32", "bfloat16")
BATCHES = (8, 32, 128)  # filters of an ascent


class Program(NamedTuple):
    """A compiled function of jaxviz, and its arguments, whose arrays may be shapes."""

    function: Any
    args: tuple
    static: dict[str, Any]
    precision: str


def vgg(name: str, **execution: Any) -> jv.Model:
    """VGG16 as shapes, without weights."""
    found = ARCHITECTURES[name]
    net = nnx.eval_shape(lambda: KerasNet(found.graph, found.inputs, rngs=nnx.Rngs(0)))
    return from_net(net).replace(execution=jv.Execution(**execution))


def ascent(count: int, **execution: Any) -> Program:
    """A step of Chollet's ascent of `count` filters of block3_conv1 at 150²."""
    return ascent_of(vgg("vgg16_notop", **execution), "block3_conv1", jv.recipes.chollet(), count)


def robust_ascent(count: int, **execution: Any) -> Program:
    """A step of Lucid's ascent of the same filters at 128²: a Fourier canvas, and a resample of each image."""
    return ascent_of(vgg("vgg16_notop", **execution), "block3_conv1", jv.recipes.lucid(), count)


def ascent_of(model: jv.Model, layer: str, recipe: dict[str, Any], count: int) -> Program:
    model = with_fast_products(model)
    channels = model.shapes(recipe["canvas"].size, [layer])[layer][-1]
    some = stacked(jv.channels(model, layer, [i % channels for i in range(count)]))
    keys = jax.random.split(jax.random.key(0), count)
    canvas, optimizer = recipe["canvas"], as_constructor(recipe["optimizer"])
    state = slots._begin.compiled().eval_shape(canvas, optimizer, None, keys, None, channels=3)
    done, live = np.zeros(count, np.int32), np.ones(count, bool)
    args = (model, some, keys, state, done, live, 1, canvas, recipe.get("transform"), optimizer, None)
    return Program(slots._climb, args, {}, "default")


def stacked(objectives: list) -> Any:
    return jax.tree.map(lambda *leaves: np.stack(leaves), *objectives)


def question(model: jv.Model, count: int) -> tuple[jv.Model, Any, Any]:
    """The model, images, and for each of them the score of one class."""
    images = jax.ShapeDtypeStruct((count, *model.image_size()), jnp.float32)
    return model, images, stacked([jv.Unit(model.scores, i % 10) for i in range(count)])


def gradient(count: int, **execution: Any) -> Program:
    return gradient_of(vgg("vgg16", **execution), count)


def gradient_of(model: jv.Model, count: int) -> Program:
    return Program(gradients.gradients, question(model, count), {}, "highest")


def grad_cam(count: int, **execution: Any) -> Program:
    model, images, objectives = question(vgg("vgg16", **execution), count)
    layers, places, picture = layer_maps.seen_layers(model, objectives, None, images.shape[1:-1])
    static = {"layers": layers, "grid": picture[:-1], "weigh": cams.weigh_grad_cam, "relu": True}
    return Program(cams._cams, (model, images, objectives, places), static, "highest")


def occlusion(count: int, **execution: Any) -> Program:
    """`count` windows of 44 pixels on one image."""
    model, images, objectives = question(vgg("vgg16", **execution), 1)
    image = jax.ShapeDtypeStruct(images.shape[1:], images.dtype)
    objective = jax.tree.map(lambda leaf: leaf[0], objectives)
    corners = np.array([(44 * (i // 6), 44 * (i % 6)) for i in range(count)])
    fill = np.full(image.shape, 0.5, np.float32)
    static = {"size": (44, 44), "picture": image.shape}
    return Program(perturbation._occluded, (model, image, objective, corners, fill), static, "highest")


# SmoothGrad's program is the gradient's, of as many images as there are noisy copies.
WORK: dict[str, tuple[Callable[..., Program], int, dict[str, Any]]] = {
    "ascent step, 32 filters": (ascent, 32, {}),
    "ascent step, rewrite=False": (ascent, 32, {"rewrite": False}),
    "robust ascent step, 32 filters": (robust_ascent, 32, {}),
    "gradient, 32 images": (gradient, 32, {}),
    "gradient, rewrite=False": (gradient, 32, {"rewrite": False}),
    "Grad-CAM, 32 images": (grad_cam, 32, {}),
    "SmoothGrad, 25 copies": (gradient, 25, {}),
    "occlusion, 18 windows": (occlusion, 18, {}),
}


def lowered(program: Program, platform: str, place: Callable[[Any], Any]) -> Any:
    """The program for a platform, with the device that `place` gives each argument."""

    def shaped(path: Any, leaf: Any) -> Any:
        leaf = leaf if hasattr(leaf, "dtype") else jnp.asarray(leaf)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=place(path))

    return program.function.lower(platform, *jax.tree_util.tree_map_with_path(shaped, program.args), **program.static)


def calculated(program: Program, target: Target, device: Any, dtype: str) -> dict[str, Any]:
    """Everything that XLA says about a program for one device."""
    begin = time.perf_counter()
    compiled = lowered(program, target.platform, lambda _: SingleDeviceSharding(device)).compile()
    text, memory, cost = text_of(compiled), compiled.memory_analysis(), compiled.cost_analysis()
    jaxpr = program.function.trace(*program.args, **program.static).jaxpr
    arithmetic = 2 * multiplications(jaxpr)
    found: dict[str, Any] = {"arithmetic": arithmetic}
    if text:
        found |= {"traffic": hlo.traffic(text), "slow": hlo.slow(text)}
    if cost:
        seconds = cost["optimal_seconds"]
        unknown = int(np.ceil(-seconds)) if seconds < 0 else 0
        found |= {"FLOPs": cost["flops"], "bytes": cost["bytes accessed"], "estimate": seconds + unknown}
        if text:
            found["cycles"] = hlo.cycles(text)
    peak = target.peaks["bfloat16" if dtype == "bfloat16" else program.precision]
    moved = found.get("bytes") or found["traffic"]
    found["roofline"] = max(arithmetic / peak, moved / target.bandwidth)
    found["bound"] = "products" if arithmetic / peak > moved / target.bandwidth else "memory"
    found["temporaries"] = memory.temp_size_in_bytes
    found["seconds to compile here"] = round(time.perf_counter() - begin, 1)
    return found


def text_of(compiled: Any) -> str:
    """The text of a compiled program; "" for some programs of a TPU v6e, which jaxlib 0.10.2 cannot print.

    It refuses an `async-update` with more than one operand.
    """
    try:
        return str(compiled.as_text())
    except jax.errors.JaxRuntimeError as error:
        if "async-update" not in str(error):
            raise
        return ""


def multiplications(jaxpr: Any) -> float:
    """The multiplications of convolutions and products in a traced program; a loop of unknown length counts once."""
    total = 0.0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            sides = equation.invars[0].aval.shape
            total += np.prod(equation.outvars[0].aval.shape) * np.prod([sides[axis] for axis in contracted])
        elif name == "conv_general_dilated":
            total += _convolution(equation)
        else:
            times = params["length"] if name == "scan" else 1
            inner = [value for value in jax.tree.leaves(params, is_leaf=_is_jaxpr) if _is_jaxpr(value)]
            total += times * sum(multiplications(getattr(each, "jaxpr", each)) for each in inner)
    return float(total)


def _is_jaxpr(value: Any) -> bool:
    return hasattr(value, "eqns") or hasattr(value, "jaxpr")


def _convolution(equation: Any) -> float:
    images, kernel = (each.aval.shape for each in equation.invars)
    params, layout = equation.params, equation.params["dimension_numbers"]
    out = equation.outvars[0].aval.shape
    total = out[layout.out_spec[0]] * out[layout.out_spec[1]] * kernel[layout.rhs_spec[1]]
    for axis in range(len(images) - 2):
        length, taps = images[layout.lhs_spec[2 + axis]], kernel[layout.rhs_spec[2 + axis]]
        low, gap = params["padding"][axis][0], params["lhs_dilation"][axis]
        places = np.arange(out[layout.out_spec[2 + axis]])[:, None] * params["window_strides"][axis] - low
        places = places + np.arange(taps) * params["rhs_dilation"][axis]
        total *= ((places >= 0) & (places <= (length - 1) * gap) & (places % gap == 0)).sum()
    return total


def needed(target: Target, device: Any, dtype: str, count: int) -> Any:
    """The memory of an ascent of `count` filters, by XLA's plan."""
    program = ascent(count, platform=target.platform, dtype=dtype)
    return lowered(program, target.platform, lambda _: SingleDeviceSharding(device)).compile().memory_analysis()


def largest(target: Target, device: Any, dtype: str) -> dict[str, int]:
    """The most filters whose ascent fits the device beside its arguments and results, as the engine chooses them."""

    def program(count: int) -> Any:
        built = ascent(count, platform=target.platform, dtype=dtype)
        return lowered(built, target.platform, lambda _: SingleDeviceSharding(device))

    one, two = (needed(target, device, dtype, count) for count in (1, 2))
    outside = [
        each.argument_size_in_bytes + each.output_size_in_bytes - each.alias_size_in_bytes for each in (one, two)
    ]
    most = int(target.memory / (two.temp_size_in_bytes - one.temp_size_in_bytes))
    free = int(target.memory) - outside[0] - most * (outside[1] - outside[0])
    return {"filters": fitting(program, free, most), "bytes for temporaries": free}


def sharded(target: Target, devices: Any) -> dict[str, Any]:
    """What four devices say to each other in an ascent of 32 filters, 8 on each; nothing, if it is as it should be."""
    mesh = Mesh(np.array(devices), ("item",))

    def place(path: Any) -> Any:
        spread = path[0].idx in range(1, 6)  # what has an axis of climbers
        return NamedSharding(mesh, PartitionSpec("item") if spread else PartitionSpec())

    compiled = lowered(ascent(32, platform=target.platform), target.platform, place).compile()
    assert "num_partitions=4" in compiled.as_text()
    temporaries = compiled.memory_analysis().temp_size_in_bytes
    return {"communication": hlo.communication(compiled.as_text()), "temporaries of each": temporaries}


def tasks(target: Target) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """(type, name, function) of everything that is calculated for a target."""
    devices = target.topology().devices
    for dtype in DTYPES:
        for work, (build, count, settings) in WORK.items():
            program = partial(build, count, platform=target.platform, dtype=dtype, **settings)
            yield dtype, work, lambda build=program, dtype=dtype: calculated(build(), target, devices[0], dtype)
        for count in BATCHES:
            yield (
                dtype,
                f"batch {count}",
                lambda n=count, dtype=dtype: {"temporaries": needed(target, devices[0], dtype, n).temp_size_in_bytes},
            )
        yield dtype, "largest batch", lambda dtype=dtype: largest(target, devices[0], dtype)
    if len(devices) == 4:
        yield "float32", "four devices", lambda: sharded(target, devices)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--only", default="", help="a pattern: only such work, such as 'ascent.*bfloat16'")
    args = parser.parse_args()
    for name in args.targets:
        for dtype, work, calculate in tasks(TARGETS[name]):
            if re.search(args.only, f"{work} {dtype}"):
                found = calculate()
                print(name, dtype, work, found, flush=True)
                keep(name, dtype, work, found)  # after each, since all of them take half an hour
    print(write_page())


def keep(name: str, dtype: str, work: str, found: Any) -> None:
    path = RESULTS / "accelerators.json"
    known = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    target = known.setdefault(name, {})
    target["versions"] = {
        package: importlib.metadata.version(package)
        for package in ("jax", "jaxlib", "libtpu", "jax-cuda12-plugin")
        if any(importlib.metadata.distributions(name=package))
    }
    target.setdefault(dtype, {})[work] = found
    path.write_text(json.dumps(known, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


PAGE = """# What XLA calculates for accelerators

Written by `python benchmarks/accelerators.py`, whose docstring says what each column means. **Every number here is
calculated by XLA, or counted in the text of its program. None is measured**: no TPU or GPU was at hand. The network is
VGG16. {where}.

What was changed after reading these programs:

- On a GPU, the backward pass of a max-pool wrote five int32 indices for each output, and added gradients by atomic
  operations. Now it compares, also where windows overlap, as in ResNet50.
- On a TPU, the same comparisons would take 40 % more cycles: XLA computes its own backward pass together with the
  convolutions around it. So it stays.
- An ascent computes one channel of its last layer, on both. On a TPU, the gradient of taking this channel was a loop
  over the filters, one after the other.
- The derivative of a ReLU from its output instead of its input was tried on the GPU, and changes nothing: XLA does not
  let cuDNN compute the ReLU.
- The transposes of a GPU's ascent are those of its kernels, before the loop. No callback and no float64 was found.

- On a TPU, the backward pass of the robust ascent's resample was four scatters, which XLA estimated at most of the step
  (202 ms for 32 filters on a TPU v5e, and 149 GB). They are products with one-hot matrices now, which take half of the
  step's cycles.

What is still slow: on a GPU, occlusion puts its windows into place by scatters. Of the TPU v6e, gradients, Grad-CAM,
SmoothGrad and occlusion are not calculated yet. The cycles that are missing for the TPU v5e had been counted wrongly,
and have not been counted again.

A share above 100 % is of attributions in float32, whose products have precision "highest": there, XLA's estimate is
less than the six passes of bfloat16 that our least time counts for each product. The occlusion's FLOPs are 14 % fewer
than its arithmetic: most of the pass of the unchanged image stands in the traced program twice, once for its score and
once for the windows, which is 16 % of the arithmetic. XLA merges the two, on a CPU as well.
"""
COLUMNS = ("FLOPs ÷ arithmetic", "GB moved", "temporaries, MB", "estimate, ms", "least, ms", "share", "Mcycles", "slow")


def write_page() -> Path:
    """The path of the page, which is made from the results of all targets."""
    known = json.loads((RESULTS / "accelerators.json").read_text(encoding="utf-8"))
    versions = {name: found["versions"] for name, found in known.items()}
    where = "; ".join(f"{name}: " + ", ".join(map(" ".join, each.items())) for name, each in versions.items())
    lines = [PAGE.format(where=where)]
    for name, found in known.items():
        lines += [f"## {name}\n", f"| work | type | {' | '.join(COLUMNS)} |", f"|{'---|' * (2 + len(COLUMNS))}"]
        rows = [(dtype, work, found[dtype][work]) for work in WORK for dtype in DTYPES if work in found.get(dtype, {})]
        lines += [f"| {work} | {dtype} | {' | '.join(cells(values))} |" for dtype, work, values in rows]
        lines += ["", *facts(found)]
    path = RESULTS / "accelerators.md"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def cells(found: Mapping[str, Any]) -> list[str]:
    estimate = found.get("estimate")
    return [
        f"{found['FLOPs'] / found['arithmetic']:.3f}" if "FLOPs" in found else "–",
        f"{(found.get('bytes') or found['traffic']) / 1e9:.2f}",
        f"{found['temporaries'] / 1e6:.0f}",
        f"{1e3 * estimate:.2f}" if estimate else "–",
        f"{1e3 * found['roofline']:.2f} ({found['bound']})",
        f"{found['roofline'] / estimate:.0%}" if estimate else "–",
        f"{found['cycles'] / 1e6:.1f}" if "cycles" in found else "–",
        ", ".join(f"{number} {name}" for name, number in found["slow"].items()) or "none" if "slow" in found else "–",
    ]


def facts(found: Mapping[str, Any]) -> list[str]:
    """The lines of the other results of a target: memory against the batch, the largest batch, four devices."""
    lines = []
    for dtype in DTYPES:
        each = found.get(dtype, {})
        batches = {count: each[f"batch {count}"]["temporaries"] for count in BATCHES if f"batch {count}" in each}
        if batches:
            listed = ", ".join(f"{count} filters {size / 1e6:.0f} MB" for count, size in batches.items())
            lines.append(f"Temporaries of an ascent in {dtype}: {listed}.\n")
        if "largest batch" in each:
            largest = each["largest batch"]
            free = largest["bytes for temporaries"] / 1e9
            lines.append(
                f"The largest batch in {dtype}: {largest['filters']} filters, with {free:.1f} GB for temporaries.\n"
            )
        if "four devices" in each:
            said = each["four devices"]["communication"] or "none"
            lines.append(f"Communication in a step of 32 filters over four devices: {said}.\n")
    return lines


if __name__ == "__main__":
    main()
