"""What was found in a traced program, kept for as long as its model is alive: tracing a network takes Python time."""

import weakref
from collections.abc import Callable
from typing import Any

_FOUND: weakref.WeakKeyDictionary[Any, dict[Any, Any]] = weakref.WeakKeyDictionary()


def remembered(model: Any, key: Any, find: Callable[[], Any]) -> Any:
    """What `find()` returns, which is called once for each model and key. An error is not kept.

    The result may depend on the fields of the model and on the shapes of its arrays, which do not change: another field
    makes another model (`Model.replace`). It must not hold the model, which would then never be forgotten.
    """
    known = _FOUND.setdefault(model, {})
    if key not in known:
        known[key] = find()
    return known[key]
