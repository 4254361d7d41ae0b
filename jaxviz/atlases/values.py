"""Arrays of an atlas that stay on disk: each index reads the chunk of that filter, and no other.

Law: what cannot be read is an error: never a filter that is not finished yet, nor one whose bytes are damaged.
"""

import operator
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from jaxviz.atlases.layout import MISSING
from jaxviz.atlases.store import Store
from jaxviz.errors import InputError


class Values:
    """An array of a layer with one entry for each filter, which is read when it is asked for.

    `values[17]` and `values[3:7]` read these filters, `values[:]` and `numpy.asarray(values)` read all.
    """

    def __init__(self, store: Store, array: Any, fates: np.ndarray, what: str):
        self._store, self._array, self._fates, self._what = store, array, fates, what
        self.shape: tuple[int, ...] = array.shape
        self.dtype: np.dtype = array.dtype

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def done(self) -> np.ndarray:
        """bool `[n]`: the filters that are there."""
        return self._fates != MISSING

    def __getitem__(self, index: Any) -> Any:
        """
        Raises:
            InputError: a filter that is not there, is not finished, or cannot be read.
        """
        if not isinstance(index, slice):
            index = self._checked(index)
        elif (numbers := range(len(self))[index]).step < 0:  # Zarr reads forwards only
            forwards = numbers[::-1]
            return self[forwards.start : forwards.stop : forwards.step][::-1]
        numbers = np.arange(len(self))[index]
        if (missing := numbers[self._fates[numbers] == MISSING]).size:
            raise InputError(
                f"{self._what} has no filter {missing.ravel()[0]} yet: the atlas is not finished, and the command that "
                "makes it goes on; .done says which filters are there"
            )
        found = self._store.read(self._array, index)
        return found[()] if np.ndim(found) == 0 else found

    def _checked(self, index: Any) -> int:
        try:
            number = operator.index(index)
        except TypeError:
            raise InputError(f"a filter is a whole number, or a slice of them; given: {index!r}") from None
        if not -len(self) <= number < len(self):
            raise InputError(f"{self._what} has {len(self)} filters, 0 to {len(self) - 1}; given: {number}")
        return number % len(self)

    def __iter__(self) -> Iterator[Any]:
        return (self[i] for i in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def __repr__(self) -> str:
        return f"<{self._what}: {self.dtype}{list(self.shape)}, on disk>"


class Files:
    """The names of the photographs of each filter."""

    def __init__(self, numbers: Values, store: Store):
        self._numbers, self._store = numbers, store

    def __len__(self) -> int:
        return len(self._numbers)

    @cached_property
    def _names(self) -> list[str]:
        return self._store.files()

    def __getitem__(self, index: Any) -> list[str]:
        return [self._names[number] for number in self._numbers[index]]
