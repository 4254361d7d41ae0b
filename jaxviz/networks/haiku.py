"""Functions of Haiku: `hk.transform(f)` and `hk.transform_with_state(f)`.

Law: the network computes what `apply` computes, with the state that `init` returned and without a random key, unless
one is bound.

Haiku is optional. It is not imported here, since whoever has such a function has imported it.
"""

import inspect
import re
import sys
from typing import Any

from jaxviz.errors import InputError
from jaxviz.networks.calls import evaluation
from jaxviz.networks.traced import Network, paths_of


def is_haiku(module: Any) -> bool:
    haiku = sys.modules.get("haiku")
    return haiku is not None and isinstance(module, haiku.Transformed | haiku.TransformedWithState)


def of_haiku(transformed: Any, variables: Any) -> Network:
    """The network of a transformed function.

    Args:
        variables: what `init` returned: the parameters, or a pair of the parameters and the state.

    Raises:
        InputError: no parameters, or no state.
    """
    apply, names = transformed.apply, list(inspect.signature(transformed.apply).parameters)
    stateful = "state" in names[1:2]
    if variables is None or (stateful and not (isinstance(variables, tuple) and len(variables) == 2)):
        needs = "(params, state)" if stateful else "params"
        raise InputError(
            "a function of Haiku keeps its weights outside, so pass what its init returned: wrap(transformed, "
            f"{needs}, image_shape=…); given: variables of type {type(variables).__name__}"
        )
    first = 1 + stateful  # apply(params, [state], [rng], images, …)
    draws = "rng" in names[first : first + 1]
    switches = evaluation(apply)

    def function(params: Any, images: Any, rng: Any = None, **arguments: Any) -> Any:
        leading = (*(params if stateful else (params,)), *((rng,) if draws else ()))
        value = apply(*leading, images, **{**switches, **arguments})
        return value[0] if stateful else value

    paths, state = paths_of(variables), frozenset[int]()
    if stateful:
        state = frozenset(number for number, path in enumerate(paths) if path[0] == "1")
        # The averages of a normalisation are modules of their own inside of it.
        paths = tuple((re.sub(r"/~/\w+_ema$", "", path[1]), *path[2:]) for path in paths)
    given = {*switches, *(("rng",) if draws else ())}
    return Network(function, apply, first + draws + 1, given, variables, paths, state=state)
