"""Random networks in Keras 2 or 3: DAGs with shared layers, nested models, several inputs and outputs."""

import numpy as np
from hypothesis import strategies as st

SIZE = 6


class Draft:
    """A model that is being drawn and built: `keras` is the package to build it with, `numbers` gives unique names."""

    def __init__(self, data, keras, numbers, depth):
        self.draw, self.keras, self.numbers, self.depth = data.draw, keras, numbers, depth

    def name(self, kind):
        return f"{kind}_{next(self.numbers)}"

    def pick(self, tensors):
        return tensors[self.draw(st.integers(0, len(tensors) - 1))]

    def layer(self):
        """A layer of one input [6 6 c], for any c; its output is [6 6 c'] with c' ≤ 3, or c."""
        layers, filters = self.keras.layers, st.integers(1, 3)
        kind = self.draw(st.sampled_from(["conv", "conv", "norm", "relu", "pool"]))
        name = self.name(kind)
        if kind == "conv":
            size, activation = self.draw(st.sampled_from([1, 3])), self.draw(st.sampled_from(["linear", "relu", "elu"]))
            return layers.Conv2D(self.draw(filters), size, padding="same", activation=activation, name=name)
        if kind == "norm":
            return layers.BatchNormalization(name=name)
        if kind == "relu":
            return layers.ReLU(name=name)
        return layers.AveragePooling2D(3, 1, "same", name=name)

    def grow(self, tensors, calls):
        """`tensors` and what `calls` more calls make of them."""
        tensors, shared = list(tensors), []
        for _ in range(calls):
            kind = self.draw(st.sampled_from(["layer", "layer", "again", "add", "model", "models"]))
            source = self.pick(tensors)
            alike = [tensor for tensor in tensors if tensor.shape[-1] == source.shape[-1]]
            called = [(layer, shape) for layer, shape in shared if shape == [source.shape[-1]]]
            if kind == "again" and called:
                tensors += self.call(self.pick(called)[0], [source])
            elif kind == "add":
                tensors.append(self.keras.layers.Add(name=self.name("add"))([source, self.pick(alike)]))
            elif kind in ("model", "models") and self.depth:
                sources = [source, *([self.pick(tensors)] if kind == "models" else [])]
                inner = self.inner(kind, [tensor.shape[-1] for tensor in sources])
                tensors += self.call(inner, sources)
                if len(sources) == 1:
                    shared.append((inner, [source.shape[-1]]))
            else:
                layer = self.layer()
                tensors += self.call(layer, [source])
                shared.append((layer, [source.shape[-1]]))
        return tensors

    def call(self, layer, sources):
        found = layer(sources if len(sources) > 1 else sources[0])
        return found if isinstance(found, list) else [found]

    def inner(self, kind, channels, outputs=None):
        """A nested model, Sequential or Functional, perhaps frozen, and perhaps some of its layers."""
        draft = Draft(type("Data", (), {"draw": self.draw}), self.keras, self.numbers, self.depth - 1)
        if kind == "model" and self.draw(st.booleans()):
            layers = [draft.layer() for _ in range(self.draw(st.integers(1, 3)))]
            if draft.depth and self.draw(st.booleans()):  # a model in it, before layers that take any channels
                layers.insert(0, draft.inner("model", channels, outputs=1))
            if self.draw(st.booleans()):
                layers.insert(0, self.keras.Input((SIZE, SIZE, channels[0])))
            model = self.keras.Sequential(layers, name=self.name("sequential"))
        else:
            inputs = [self.keras.Input((SIZE, SIZE, c), name=self.name("in")) for c in channels]
            model = draft.model(inputs, self.name("functional"), outputs or self.draw(st.integers(1, 2)))
        for layer in [model, *model.layers]:
            if self.draw(st.integers(0, 3)) == 0:
                layer.trainable = False
        return model

    def model(self, inputs, name, outputs):
        tensors = self.grow(inputs, self.draw(st.integers(1, 4)))
        ends = [tensors[-1], *(self.pick(tensors) for _ in range(outputs - 1))]
        merged = [tensor for tensor in inputs if all(tensor is not end for end in ends)]
        for tensor in merged:  # every input has to lead somewhere
            wide = self.keras.layers.Conv2D(ends[0].shape[-1], 1, name=self.name("conv"))(tensor)
            ends[0] = self.keras.layers.Add(name=self.name("add"))([ends[0], wide])
        return self.keras.Model(inputs if len(inputs) > 1 else inputs[0], ends if len(ends) > 1 else ends[0], name=name)


def randomize(model, seed):
    """Weights under which nothing is invisible."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        fan_in = np.prod(weight.shape[:-1]) if len(weight.shape) > 1 else 1
        values = rng.standard_normal(weight.shape).astype(np.float32) / np.sqrt(fan_in)
        weight.assign(np.abs(values) + 0.5 if "variance" in weight.name else values)
    return model
