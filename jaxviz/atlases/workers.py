"""Who does the chunks: this process, or the workers of an executor of `concurrent.futures`.

    results(executor, model, …, chunks) -> a Done for each chunk, as they come

Law: each worker has one copy of the model, whatever the number of chunks, and writes its own chunks into the store.
dask sends the model to a worker once; another executor sends its bytes to a process with each chunk, and the process
reads the first of them only. What a dead worker had begun is begun again: by others if the executor does so, as dask's
does, or else by the next call. This is the only file that knows dask.
"""

import concurrent.futures
import pickle
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import jax

from jaxviz.ascent.slots import spread
from jaxviz.atlases.plan import Chunk
from jaxviz.atlases.work import Done, work
from jaxviz.errors import InputError, first_line
from jaxviz.model import Model

PATIENCE = 10  # seconds to wait for a scheduler: one that runs answers at once


class Carried:
    """A model on its way to other processes, pickled once; each process unpickles it at its first chunk only.

    Two copies of a model would be two models to JAX, if it holds functions, and compile everything anew.
    """

    def __init__(self, model: Model):
        self.model, self._name, self._bytes = model, uuid.uuid4().hex, b""

    @cached_property
    def placed(self) -> Model:
        """The model on all devices of this process."""
        return everywhere(self.model)

    def __reduce__(self) -> tuple[Any, ...]:
        self._bytes = self._bytes or pickle.dumps(self.model)
        return _arrived, (self._name, self._bytes)


_here: dict[str, Carried] = {}  # the one that arrived last


def _arrived(name: str, data: bytes) -> Carried:
    if name not in _here:
        _here.clear()
        _here[name] = Carried(pickle.loads(data))
    return _here[name]


def everywhere(model: Model) -> Model:
    """The model on all devices of this process, if it has several."""
    devices = jax.local_devices()
    return spread(model, devices, each=False) if len(devices) > 1 else model


def results(executor: Any, model: Model, path: str, images: str | None, chunks: Sequence[Chunk]) -> Iterator[Done]:
    """What became of each chunk, in the order in which they are finished.

    Raises:
        InputError: a worker died and the executor does not replace it, or a scheduler has no workers.
    """
    if executor is None:
        there = everywhere(model)
        yield from (work(there, path, images, chunk) for chunk in chunks)
        return
    with _said():
        carried = _sent(executor, model)
        futures = [executor.submit(_work, carried, path, images, chunk) for chunk in chunks]
        try:
            for future in concurrent.futures.as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()


def _sent(executor: Any, model: Model) -> Any:
    """The model, as it is given to `submit`."""
    if type(executor).__module__.partition(".")[0] != "distributed":
        return Carried(model)
    # A copy for each worker that is there, so that the death of one loses nothing; later ones get theirs from these.
    return executor._client.scatter(Carried(model), hash=False, broadcast=True)


def _work(carried: Carried, path: str, images: str | None, chunk: Chunk) -> Done:
    return work(carried.placed, path, images, chunk)


@contextmanager
def _said() -> Iterator[None]:
    """A context in which what executors and dask raise is an InputError that says how to go on."""
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except concurrent.futures.CancelledError as error:  # by dask, if all workers that had the model are gone
        raise InputError(f"the executor dropped a chunk; {GO_ON}") from error
    except concurrent.futures.BrokenExecutor as error:
        raise InputError(f"a worker died, and its executor stopped: {error}; {GO_ON}") from error
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("distributed", "asyncio") and not isinstance(
            error, TimeoutError
        ):
            raise
        raise InputError(f"the scheduler gave up: {first_line(error)}; {GO_ON}") from error


GO_ON = "what is finished is kept, and the same call goes on"


@contextmanager
def scheduler(address: str) -> Iterator[Any]:
    """The executor of a dask scheduler, such as tcp://host:8786.

    Raises:
        InputError: it does not answer, or the address is none.
        ImportError: dask is not installed: it is in the extra "dask".
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError('a scheduler is dask\'s: pip install "jaxviz-engine[dask]"') from error
    try:
        client = Client(address, timeout=PATIENCE)
    except (OSError, ValueError, TimeoutError) as error:
        raise InputError(f"no scheduler of dask answers at {address!r}: {error}") from error
    with client:
        yield client.get_executor()
