"""Networks that others wrote, from packages, small: one function for each, and the library's own way to its values.

A package is imported in the function that needs it, so that this file can be read where none is installed. How they are
installed is in `requirements.txt`.
"""

import sys
import types
from collections import defaultdict
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

SIZE, CLASSES = 32, 4


class Entry(NamedTuple):
    """A network and what its own library computes.

    Attributes:
        package: the distribution that it comes from.
        library: that it is written in.
        arguments: of `jv.wrap`, and keywords of it.
        call: the network as its library calls it, a function of a batch of images `[n h w c]`.
        parts: the values in it, {name of a layer: [n …]}, as its library shows them for such images.
    """

    package: str
    library: str
    arguments: tuple
    keywords: dict
    call: Callable[[Any], Any]
    parts: Callable[[Any], dict[str, Any]]


def images(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, SIZE, SIZE, 3), np.float32)


def filled(shapes: Any) -> Any:
    """Random weights of these shapes: the variance of the values stays about the same from layer to layer."""
    random = np.random.default_rng(1)

    def fill(leaf: Any) -> Any:
        if not hasattr(leaf, "dtype") or not jnp.issubdtype(leaf.dtype, jnp.floating):
            return jnp.zeros(leaf.shape, leaf.dtype) if isinstance(leaf, jax.ShapeDtypeStruct) else leaf
        if leaf.size in (1, *leaf.shape):  # scales and variances, which are positive; and biases
            return jnp.asarray(random.uniform(0.5, 1.5, leaf.shape), leaf.dtype)
        return jnp.asarray(random.normal(0, np.sqrt(max(leaf.shape) / leaf.size), leaf.shape), leaf.dtype)

    return jax.tree.map(fill, shapes)


def of_linen(package: str, module: Any, scan: str = "", **switches: Any) -> Entry:
    """A linen module. Its own way is `capture_intermediates`.

    Args:
        scan: the path of a scan over layers, whose values come stacked.
    """
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), images(1), **switches))
    variables = filled(shapes)

    def call(x: Any) -> Any:
        return module.apply(variables, x, **switches)

    def parts(x: Any) -> dict[str, Any]:
        _, state = module.apply(variables, x, **switches, capture_intermediates=True, mutable=["intermediates"])
        found = {name: value for path, value in _flat(state["intermediates"]) for name, value in _calls(path, value)}
        stacked = {name: found.pop(name) for name in [*found] if scan and name.startswith(scan)}
        for name, values in stacked.items():
            found |= {f"{scan}[{i}]{name.removeprefix(scan)}": value for i, value in enumerate(values)}
        return found

    return Entry(package, "linen", (module, variables), {}, call, parts)


def _flat(tree: Any, path: tuple = ()) -> list:
    if isinstance(tree, dict):
        return [each for name, part in tree.items() for each in _flat(part, (*path, name))]
    return [(path, tree)]


def _calls(path: tuple, values: Any) -> list:
    """The outputs of the calls of a module, whose path ends in "__call__"; others are no outputs."""
    if path[-1] != "__call__":
        return []
    name = "/".join(path[:-1]) or "output"
    return [(name if k == 0 else f"{name}#{k + 1}", value) for k, value in enumerate(values) if hasattr(value, "shape")]


def of_nnx(package: str, module: Any, scan: str = "") -> Entry:
    """An nnx module. Its own way is a call of it, not compiled, in which each of its modules writes its output.

    Args:
        scan: the path of a scan over layers, which is a loop where nothing is compiled.
    """
    from flax import nnx

    graph, state = nnx.split(module)
    module = nnx.merge(graph, filled(state))
    module.eval()
    for path, part in nnx.iter_modules(module):
        part.own_path = "/".join(map(str, path))  # a copy in a scan has it, too

    def parts(x: Any) -> dict[str, Any]:
        found: dict[str, list] = defaultdict(list)
        kinds = {type(part) for path, part in nnx.iter_modules(module) if path and callable(part)}
        with jax.disable_jit(), _recorded(tuple(kinds), found):
            module(x)
        return {name: each for name, values in found.items() for name, each in _iterations(name, values)}

    def _iterations(name: str, values: list) -> list:
        if scan and name.startswith(scan):
            return [(f"{scan}[{i}]{name.removeprefix(scan)}", value) for i, value in enumerate(values)]
        return [(name if k == 0 else f"{name}#{k + 1}", value) for k, value in enumerate(values)]

    graph, state = nnx.split(module)

    def call(x: Any) -> Any:
        copy = jax.tree.map(lambda leaf: leaf, state)  # nnx wants variables that are made where it is differentiated
        return nnx.merge(graph, copy)(x)

    return Entry(package, "nnx", (module,), {}, call, parts)


class _recorded:  # noqa: N801  (a context)
    """A context in which the modules of some classes write their outputs to `found`."""

    def __init__(self, kinds: tuple, found: dict[str, list]):
        self.kinds, self.found = kinds, found
        self.own = [kind.__call__ for kind in kinds]

    def __enter__(self) -> None:
        def patched(own: Any) -> Any:
            def call(part: Any, *args: Any, **kwargs: Any) -> Any:
                self.found[part.own_path].append(own(part, *args, **kwargs))
                return self.found[part.own_path][-1]

            return call

        for kind, own in zip(self.kinds, self.own, strict=True):
            kind.__call__ = patched(own)

    def __exit__(self, *_: Any) -> None:
        for kind, own in zip(self.kinds, self.own, strict=True):
            kind.__call__ = own


def of_haiku(package: str, function: Callable[..., Any], **switches: Any) -> Entry:
    """A function of Haiku. Its own way is `hk.intercept_methods`."""
    import haiku as hk

    transformed = hk.transform_with_state(function)
    training = dict.fromkeys(switches, True)
    params, state = filled(jax.eval_shape(lambda: transformed.init(jax.random.key(0), images(1), **training)))

    def call(x: Any) -> Any:
        return transformed.apply(params, state, None, x, **switches)[0]

    def parts(x: Any) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def record(method: Any, args: Any, kwargs: Any, context: Any) -> Any:
            value = method(*args, **kwargs)
            if context.method_name == "__call__":
                found[context.module.module_name] = value
            return value

        with hk.intercept_methods(record):
            call(x)
        return found

    return Entry(package, "Haiku", (transformed, (params, state)), switches, call, parts)


def of_equinox(package: str, module: Any) -> Entry:
    """A module of Equinox. Its own way is a call of it for each image, in which its layers write their outputs."""
    import equinox as eqx

    module = filled(module)
    quiet = eqx.nn.inference_mode(module)
    kinds = (eqx.nn.Conv, eqx.nn.Linear, eqx.nn.LayerNorm, eqx.nn.GroupNorm)
    own = ("LayerNorm2d", "LayerScale", "LearnedPosEmbed")  # of equimo

    def is_layer(part: Any) -> bool:
        return isinstance(part, kinds) or type(part).__name__ in own

    def call(x: Any) -> Any:
        return jax.vmap(quiet)(jnp.moveaxis(x, -1, 1))

    def parts(x: Any) -> dict[str, Any]:
        layers = jax.tree_util.tree_flatten_with_path(quiet, is_leaf=is_layer)[0]
        layers = [(path, part) for path, part in layers if is_layer(part)]
        rows = []
        for image in jnp.moveaxis(x, -1, 1):
            found: dict[str, Any] = {}
            recording = jax.tree_util.tree_map_with_path(
                lambda path, part: _Recording(part, _name(path), found) if is_layer(part) else part,  # noqa: B023
                quiet,
                is_leaf=is_layer,
            )
            recording(image)
            rows.append(found)
        return {name: jnp.stack([row[name] for row in rows]) for name in rows[0]}

    return Entry(package, "Equinox", (module,), {}, call, parts)


def _name(path: Any) -> str:
    return "/".join(str(getattr(key, "name", getattr(key, "idx", getattr(key, "key", "")))) for key in path)


def _batch(value: Any) -> Any:
    """The values of a batch of tokens, for which `vmap` calls a layer."""
    while isinstance(value, jax.core.Tracer):
        value = jnp.moveaxis(value.val, value.batch_dim, 0)
    return value


class _Recording:
    """A layer of Equinox that writes its output down; channels last, as jaxviz shows it."""

    def __init__(self, part: Any, name: str, found: dict[str, Any]):
        self.part, self.name, self.found = part, name, found

    def __call__(self, x: Any, **kwargs: Any) -> Any:
        value = self.part(x, **kwargs)
        is_map = not isinstance(value, jax.core.Tracer) and value.ndim != 2
        self.found[self.name] = jnp.moveaxis(value, 0, -1) if is_map else _batch(value)
        return value

    def __getattr__(self, name: str) -> Any:
        return getattr(self.part, name)


def flax_resnet() -> Entry:
    """The ResNet of flax's ImageNet example, retyped."""
    import functools

    import flax.linen as nn

    class Block(nn.Module):
        filters: int
        conv: Any
        norm: Any
        act: Any
        strides: tuple[int, int] = (1, 1)

        @nn.compact
        def __call__(self, x):
            y = self.act(self.norm()(self.conv(self.filters, (3, 3), self.strides)(x)))
            y = self.norm(scale_init=nn.initializers.zeros_init())(self.conv(self.filters, (3, 3))(y))
            if x.shape != y.shape:
                x = self.norm(name="norm_proj")(self.conv(self.filters, (1, 1), self.strides, name="conv_proj")(x))
            return self.act(x + y)

    class ResNet(nn.Module):
        @nn.compact
        def __call__(self, x, train: bool = True):
            conv = functools.partial(nn.Conv, use_bias=False)
            norm = functools.partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=1e-5)
            x = conv(8, (7, 7), (2, 2), padding=[(3, 3), (3, 3)], name="conv_init")(x)
            x = nn.max_pool(nn.relu(norm(name="bn_init")(x)), (3, 3), strides=(2, 2), padding="SAME")
            for i in range(2):
                for j in range(2):
                    strides = (2, 2) if i > 0 and j == 0 else (1, 1)
                    x = Block(8 * 2**i, conv=conv, norm=norm, act=nn.relu, strides=strides)(x)
            return nn.Dense(CLASSES)(jnp.mean(x, axis=(1, 2)))

    return of_linen("flax", ResNet(), train=False)


def flax_resnet_function() -> Entry:
    """The same, as a plain function of its variables."""
    entry = flax_resnet()
    module, variables = entry.arguments
    function = lambda variables, x: module.apply(variables, x, train=False)  # noqa: E731
    return entry._replace(library="a function", arguments=(function, variables))


def flax_mnist() -> Entry:
    """The CNN of flax's MNIST example, retyped."""
    from flax import nnx

    class CNN(nnx.Module):
        def __init__(self, *, rngs: nnx.Rngs):
            self.conv1 = nnx.Conv(3, 8, kernel_size=(3, 3), rngs=rngs)
            self.batch_norm1 = nnx.BatchNorm(8, rngs=rngs)
            self.dropout1 = nnx.Dropout(rate=0.025, rngs=rngs)
            self.conv2 = nnx.Conv(8, 16, kernel_size=(3, 3), rngs=rngs)
            self.batch_norm2 = nnx.BatchNorm(16, rngs=rngs)
            self.linear1 = nnx.Linear((SIZE // 4) ** 2 * 16, 16, rngs=rngs)
            self.dropout2 = nnx.Dropout(rate=0.025, rngs=rngs)
            self.linear2 = nnx.Linear(16, CLASSES, rngs=rngs)

        def __call__(self, x):
            pool = lambda x: nnx.avg_pool(x, window_shape=(2, 2), strides=(2, 2))  # noqa: E731
            x = pool(nnx.relu(self.batch_norm1(self.dropout1(self.conv1(x)))))
            x = pool(nnx.relu(self.batch_norm2(self.conv2(x))))
            x = x.reshape(x.shape[0], -1)
            return self.linear2(nnx.relu(self.dropout2(self.linear1(x))))

    return of_nnx("flax", CNN(rngs=nnx.Rngs(0)))


def jax_resnet() -> Entry:
    import jax_resnet as package

    module = package.ResNet(
        package.ResNetBlock, stage_sizes=[1, 1], hidden_sizes=(8, 16), n_classes=CLASSES, stem_cls=package.ResNetStem
    )
    return of_linen("jax-resnet", module)


def icj_resnet() -> Entry:
    from image_classification_jax.models.resnet import ResNet, ResNetBlock

    module = ResNet(stage_sizes=[1, 1], block_cls=ResNetBlock, num_classes=CLASSES, num_filters=8)
    return of_linen("image-classification-jax", module, is_training=False)


def icj_vit() -> Entry:
    from image_classification_jax.models.ViT import Transformer

    module = Transformer(n_layers=2, enc_dim=16, n_heads=2, output_dim=CLASSES)
    return of_linen("image-classification-jax", module, scan="_flax_scanTransformerBlock_0", is_training=False)


def jimm_vit() -> Entry:
    from flax import nnx
    from jimm.models.vit.vit_model import VisionTransformer

    jax.set_mesh(jax.make_mesh((1, 1), ("fsdp", "tp")))
    settings = {"img_size": SIZE, "patch_size": 8, "num_layers": 2, "num_heads": 2, "mlp_dim": 32, "hidden_size": 16}
    return of_nnx("jax-image-models", VisionTransformer(CLASSES, **settings, rngs=nnx.Rngs(0)), scan="encoder/layers")


VIT = "transformers.models.vit.configuration_vit"


def vitax_vit() -> Entry:
    # When it is imported, the package asks for a converter of weights, which it needs for nothing else.
    for name, found in (("transformers", "FlaxViTForImageClassification"), (VIT, "ViTConfig")):
        sys.modules[name] = types.ModuleType(name)
        setattr(sys.modules[name], found, None)
    from flax import nnx
    from vitax.models.vit import VisionTransformer

    settings = {"img_size": SIZE, "patch_size": 8, "num_layers": 2, "num_heads": 2, "mlp_dim": 32, "hidden_size": 16}
    return of_nnx("vitax", VisionTransformer(CLASSES, **settings, fsdp=False, rngs=nnx.Rngs(0)))


def flaxmodels_vgg() -> Entry:
    import flax.linen as nn
    from flaxmodels import VGG16

    class Averaged(nn.Module):
        """The package's own head takes images of one size only."""

        @nn.compact
        def __call__(self, x, train):
            return VGG16(pretrained=None, include_head=False, normalize=False)(x, train=train).mean((1, 2))

    return of_linen("flaxmodels", Averaged(), train=False)


def flaxmodels_resnet() -> Entry:
    from flaxmodels import ResNet18

    module = ResNet18(pretrained=None, normalize=False, num_classes=CLASSES, output="logits")
    return of_linen("flaxmodels", module, train=False)


def flaim_convnext() -> Entry:
    if not hasattr(jax.random, "KeyArray"):  # its annotations are of JAX 0.4
        jax.random.KeyArray = jax.Array
    from flaim.models.convnext import ConvNeXt

    return of_linen("flaim", ConvNeXt(depths=(1, 1), out_dims=(8, 16), n_classes=CLASSES))


def botnet() -> Entry:
    from bottleneck_transformer_flax import BoTNet, BoTNetConfig

    config = BoTNetConfig(
        stage_sizes=[1, 1, 1, 1], num_classes=CLASSES, num_heads=2, head_dim=8, initial_filters=8, projection_factor=2
    )
    return of_linen("bottleneck-transformer-flax", BoTNet(config), train=False)


def equimo_vit() -> Entry:
    from equimo.models import VisionTransformer

    entry = of_equinox(
        "equimo",
        VisionTransformer(
            SIZE, 3, 16, 8, num_heads=2, depths=[2], reg_tokens=0, num_classes=CLASSES, key=jax.random.key(0)
        ),
    )
    (module,) = entry.arguments

    def parts(x: Any) -> dict[str, Any]:
        found = entry.parts(x)
        patches = found["patch_embed/proj"].reshape(len(x), -1, 16)
        token = jnp.broadcast_to(module.cls_token, (len(x), 1, 16))
        return {**found, "cls_token": jnp.concatenate([token, patches], 1)}

    return entry._replace(parts=parts)


def equimo_convnext() -> Entry:
    from equimo.models import ConvNeXt

    return of_equinox("equimo", ConvNeXt(3, depths=[1, 1], dims=[8, 16], num_classes=CLASSES, key=jax.random.key(0)))


def haiku_resnet() -> Entry:
    import haiku as hk

    def function(x, is_training):
        net = hk.nets.ResNet(
            (1, 1, 1, 1), CLASSES, bottleneck=False, channels_per_group=(8, 8, 16, 16), use_projection=(True,) * 4
        )
        return net(x, is_training)

    return of_haiku("dm-haiku", function, is_training=False)


def haiku_mobilenet() -> Entry:
    import haiku as hk

    return of_haiku(
        "dm-haiku",
        lambda x, is_training: hk.nets.MobileNetV1((1, 2), (8, 16), num_classes=CLASSES)(x, is_training),
        is_training=False,
    )


NETWORKS = (
    flax_resnet,
    flax_resnet_function,
    flax_mnist,
    jax_resnet,
    icj_resnet,
    icj_vit,
    jimm_vit,
    vitax_vit,
    flaxmodels_vgg,
    flaxmodels_resnet,
    flaim_convnext,
    botnet,
    equimo_vit,
    equimo_convnext,
    haiku_resnet,
    haiku_mobilenet,
)
