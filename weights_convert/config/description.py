"""JSON text that describes a model → a dict that is safe to walk. Nothing in it is executed or imported.

Safe means: functions may recurse as deep as it is nested, and every string in it can be printed.
"""

import json
from itertools import chain
from typing import Any

from ..errors import NotReadable, UnsafeFile

MAX_TEXT = (
    16 << 20
)  # bytes; the largest that Keras writes has less than 2 MB, and Python objects take up to 20 times as much
MAX_DEPTH = 200  # each nested model takes 4


def decode(text: str | bytes, where: str) -> dict[str, Any]:
    """The JSON object in `text`. In errors, `where` says which text it is.

    Raises:
        NotReadable: it is not JSON, or not a JSON object.
        UnsafeFile: it is too long, or nested too deeply.
    """
    if len(text) > MAX_TEXT:
        raise UnsafeFile(f"{where} is {len(text):,} bytes long; at most {MAX_TEXT:,} are read")
    try:
        found = json.loads(text)
    except RecursionError as error:
        raise UnsafeFile(f"{where} nests deeper than {MAX_DEPTH} levels") from error
    except ValueError as error:
        raise NotReadable(f"{where} is not JSON ({error})") from error
    if not isinstance(found, dict):
        raise NotReadable(f"{where} is not a JSON object")
    level: list[Any] = [found]
    for _ in range(MAX_DEPTH):
        level = list(chain.from_iterable(map(_parts, level)))
        if not level:
            return found
        if not all(_printable(value) for value in level):
            raise NotReadable(f"{where} holds half of a character, which cannot be printed")
    raise UnsafeFile(f"{where} nests deeper than {MAX_DEPTH} levels")


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value, *value.values()]
    return value if isinstance(value, list) else []


def _printable(value: Any) -> bool:
    """Whether the value can be printed: text with a lone surrogate is valid JSON, but no encoding can write it."""
    return not isinstance(value, str) or value.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in value)
