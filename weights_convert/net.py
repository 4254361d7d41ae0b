"""KerasNet: a Graph with weights, as an `nnx.Module`. Every activation can be read, and edited during the forward pass.

A network runs in *steps*. Most nodes are one step. A node that ends in an activation function is two steps: `name/pre`
before it, and `name`. So is a node that only gives probabilities another shape, as a Flatten after the softmax does:
its `/pre` gives that shape to the numbers before the softmax. The handles of `activations` are the names of the steps.
Steps that no handle asked for depends on are not run.
"""

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jaxtyping import Float

from .errors import UnsupportedLayer, did_you_mean
from .graph import IMAGE, Graph, Node, Shape
from .inputs import UNIT, Inputs
from .layers import KINDS, activation, attributes
from .logits import find_logits

Edits = Mapping[str, Callable[[Array], Array]]
Given = Array | np.ndarray | Mapping[str, Array | np.ndarray]


class Step(NamedTuple):
    """One function of earlier results."""

    function: Callable[..., Array]
    inputs: tuple[str, ...]


class KerasNet(nnx.Module):
    """The network that a Keras file describes. Its weights are random; `weights_convert.load` takes those of the file.

    Attributes:
        graph: the network as data.
        inputs: how the network was fed: call `net(net.inputs(images))` for images in [0, 1].
        shapes: ((name, shape), …) of inputs and layers for a batch of 1; None where the length depends on the size of
            the image.
        layers: {layer: its flax module} of the layers with weights.
        logits: the handle before the softmax or sigmoid that the network ends in, in the shape of the output; None if
            it ends in neither.
        reshaping: the nodes after that softmax or sigmoid, if they give its numbers another shape.
        fixed: {input: its value [1 ...]} of the inputs that have a fixed value.
    """

    def __init__(self, graph: Graph, inputs: Inputs = UNIT, *, rngs: nnx.Rngs):
        self.graph = graph
        self.inputs = inputs
        modules: dict[str, nnx.Module] = {}
        shapes: dict[str, Shape] = {name: (1, *shape) for name, shape in graph.inputs}
        known: dict[Hashable, Shape] = {}  # equal layers are traced once
        for node in graph.nodes:
            kind, sources = KINDS[node.kind], [shapes[name] for name in node.inputs]
            if dict(node.config).get("data_format") == "channels_first":
                raise UnsupportedLayer(
                    [
                        f"{node.name}: {node.kind} with data_format='channels_first'; supported is a "
                        "description with it, which `parse` changes to 'channels_last'"
                    ]
                )
            called_again = node.layer in modules
            try:
                if kind.module is not None and not called_again:
                    modules[node.layer] = kind.module(dict(node.config), _built_for(sources, kind.frames), rngs)
                call = _like(node, sources, called_again)
                if call not in known:
                    known[call] = _output_shape(_whole(node, modules), sources)
                shapes[node.name] = known[call]
            except (TypeError, ValueError, LookupError, ArithmeticError) as error:
                raise UnsupportedLayer([f"{node.name}: does not fit its input {sources}: {error}"]) from error
        self.shapes = tuple(shapes.items())
        self.layers = nnx.Dict(modules)
        self.logits, self.reshaping = find_logits(graph, shapes, lambda node: _function(node, modules))
        self.fixed: nnx.Dict = nnx.Dict({})

    @property
    def names(self) -> tuple[str, ...]:
        """All handles except the inputs, in execution order."""
        return tuple(self.steps())

    @property
    def classes(self) -> int | None:
        """The number of units of the (first) output; None if the output is not a vector."""
        shape = dict(self.shapes)[self.graph.outputs[0]]
        return shape[1] if len(shape) == 2 else None

    @property
    def open_inputs(self) -> dict[str, Shape]:
        """{input: its shape without the batch axis} of the inputs that a caller must give."""
        return {name: shape for name, shape in self.graph.inputs if name not in self.fixed}

    def __call__(self, images: Given) -> Float[Array, "n ..."] | tuple[Float[Array, "n ..."], ...]:
        """The output for `images` [n h w c] in the network's own units; a tuple if the network has several outputs.

        A network with several inputs takes {input: array [n ...]}.
        """
        found = self.activations(images, self.graph.outputs)
        outputs = tuple(found[name] for name in self.graph.outputs)
        return outputs if len(outputs) > 1 else outputs[0]

    def activations(
        self, images: Given, names: Iterable[str], edits: Edits | None = None
    ) -> dict[str, Float[Array, "n ..."]]:
        """{name: activation} of the layers in `names`.

        Only the layers that `names` depend on are computed, so the images may have a size that the head cannot take.

        Args:
            images: [n h w c] in the network's own units; {input: array [n ...]} if the network has several inputs.
            names: handles, such as "conv" or "conv/pre".
            edits: {handle: function}, which changes the activation of its handle. All later layers, and the caller, get
                the changed activation.

        Raises:
            ValueError: an unknown name, or images that the network cannot take.
        """
        names, edits, steps = tuple(names), edits or {}, self.steps()
        self._check_names((*names, *edits), steps)
        found = self._given(images)
        size = found[next(iter(self.open_inputs))].shape[1:]

        def edited(name: str, value: Array) -> Array:
            return edits[name](value) if name in edits else value

        needed = _ancestors(steps, names)
        found = {name: edited(name, value) for name, value in found.items()}
        for name, step in steps.items():
            if name in needed:
                with jax.named_scope(name):  # profilers and the memory plan of jaxviz find a layer by it
                    value = step.function(*(found[source] for source in step.inputs))
                self._check_features(name, value, size)
                found[name] = edited(name, value)
        return {name: found[name] for name in names}

    def weights(self) -> dict[str, dict[str, nnx.Variable]]:
        """{layer: {Keras' name of a weight: its variable}}, in the order in which Keras saves them."""
        return {
            node.layer: {
                name: getattr(self.layers[node.layer], attribute)
                for name, attribute in attributes(node).items()
                if getattr(self.layers[node.layer], attribute) is not None
            }
            for node in self.graph.nodes
            if attributes(node)
        }

    def steps(self) -> dict[str, Step]:
        """{handle: the step that computes it}, in execution order."""
        steps = {}
        for node in self.graph.nodes:
            function, ending, inputs = _function(node, self.layers), _ending(node), node.inputs
            if node.name in self.reshaping:
                steps[f"{node.name}/pre"] = Step(function, (f"{inputs[0]}/pre",))
            if ending is not None:
                steps[f"{node.name}/pre"] = Step(function, inputs)
                function, inputs = ending, (f"{node.name}/pre",)
            steps[node.name] = Step(function, inputs)
        return steps

    def _check_names(self, names: Iterable[str], steps: Mapping[str, Step]) -> None:
        handles = [*dict(self.graph.inputs), *steps]
        for name in names:
            if name not in handles:
                meant = did_you_mean(name, handles)
                raise ValueError(f"this network has no layer {name!r}; {meant}its layers are: {', '.join(handles)}")

    def _given(self, images: Given) -> dict[str, Array]:
        """{input: array [n ...]} of all inputs; fixed values are repeated for each image."""
        shapes = self.open_inputs
        given = images if isinstance(images, Mapping) else {IMAGE: images}
        if set(given) != set(shapes):
            raise ValueError(f"this network takes {{input: array}} of {', '.join(shapes)}; given: {', '.join(given)}")
        for name, shape in shapes.items():
            found = given[name].shape
            if len(found) != len(shape) + 1 or found[-1] != shape[-1]:
                axes = "[n h w c] with c" if len(shape) == 3 else f"[n {'… ' * (len(shape) > 1)}c] with c"
                whose = "images" if name == IMAGE else f"{name!r}"
                raise ValueError(f"this network takes {axes} = {shape[-1]}; given: {whose} of shape {found}")
        size, *others = {len(array) for array in given.values()}
        if others:
            raise ValueError(f"all inputs must have the same batch size; given: {', '.join(map(str, [size, *others]))}")
        fixed = {name: jnp.repeat(value[...], size, axis=0) for name, value in self.fixed.items()}
        return {name: jnp.asarray(array) for name, array in given.items()} | fixed

    def _check_features(self, name: str, value: Array, size: tuple[int, ...]) -> None:
        """Raise an error at the Flatten that cannot take images of this size, not only at the Dense after it."""
        features = dict(self.shapes).get(name, value.shape)[-1]
        if features not in (value.shape[-1], None):
            built = next(iter(self.open_inputs.values()))
            raise ValueError(
                f"layer {name!r} has {features} features for {built}, the size that the network was built for, but "
                f"{value.shape[-1]} for these images, {size}; only the layers before it take images of any size"
            )


def _like(node: Node, sources: list[Shape], called_again: bool) -> Hashable:
    """A value that calls share only if their outputs have the same shape.

    A layer that is called again keeps the weights of its first call, so it shares the value with no other layer.
    """
    call = node.kind, node.config, tuple(sources), called_again and node.layer
    try:
        hash(call)
    except TypeError:  # a function of the user's among the options
        return node.name
    return call


def _built_for(sources: list[Shape], frames: bool) -> Any:
    """The shape that the weights of a layer depend on; a list of shapes, if it has several inputs."""
    shapes = [(*shape[:1], *shape[2:]) if frames else shape for shape in sources]
    return shapes[0] if len(shapes) == 1 else shapes


def _function(node: Node, modules: Mapping[str, nnx.Module]) -> Callable[..., Array]:
    """The function of a node before its activation function."""
    kind = KINDS[node.kind]
    config: dict[str, Any] = dict(node.config)
    function: Any = modules[node.layer] if kind.module is not None else partial(kind.function, config)
    function = partial(_output, function, config["output"]) if kind.several else function
    return partial(_each, function) if kind.frames else function


def _ending(node: Node) -> Callable[..., Array] | None:
    """The activation function of a node."""
    ending = activation(node)
    return partial(_each, ending) if ending is not None and KINDS[node.kind].frames else ending


def _each(function: Callable[..., Array], *inputs: Array) -> Array:
    """`function` of each frame of inputs [n t …]."""
    n, t = inputs[0].shape[:2]
    found = function(*(x.reshape(n * t, *x.shape[2:]) for x in inputs))
    return found.reshape(n, t, *found.shape[1:])


def _output(function: Callable[..., Sequence[Array]], output: int, *inputs: Array) -> Array:
    """One of the tensors that a layer returns."""
    return function(*inputs)[output]


def _whole(node: Node, modules: Mapping[str, nnx.Module]) -> Callable[..., Array]:
    """The function of a node with its activation function, which may change the shape (`glu` does)."""
    function, ending = _function(node, modules), _ending(node)
    # A function, not the module itself, whose `repr` JAX would write for each trace.
    return lambda *inputs: function(*inputs) if ending is None else ending(function(*inputs))


def _ancestors(steps: dict[str, Step], names: Iterable[str]) -> set[str]:
    """`names`, and all steps that they depend on."""
    needed = set(names)
    for name in reversed(steps):
        if name in needed:
            needed.update(steps[name].inputs)
    return needed


def _output_shape(function: Callable[..., Array], shapes: list[Shape]) -> Shape:
    """The shape of `function`'s result; None where it depends on a None in `shapes`, which two sizes are tried for."""

    def at(size: int) -> tuple[int, ...]:
        sized = [tuple(size if length is None else length for length in shape) for shape in shapes]
        return jax.eval_shape(function, *(jax.ShapeDtypeStruct(shape, jnp.float32) for shape in sized)).shape

    if all(length is not None for shape in shapes for length in shape):
        return at(0)
    return tuple(a if a == b else None for a, b in zip(at(1024), at(2048), strict=True))
