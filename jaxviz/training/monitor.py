"""Pictures while a model trains: views of the model, every n steps, for TensorBoard or as PNG files.

    monitor(step, model)   writes view(model) under its tag, for each view, where `every` divides the step

The call copies the parameters on the device and returns. The copy is dispatched, not waited for, and the training may
donate or overwrite its own parameters at once; the views run, and the writer writes, in one background thread. There
is no more than one set of pictures waiting behind the one at work, at most two copies of the parameters: a training
that is faster than its pictures waits for them. New parameters are new leaves of the same pytree, so nothing retraces.
"""

import dataclasses
import os
import secrets
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.rendering.images import write_image
from jaxviz.training.views import Picture, View

__all__ = ["Monitor", "pictures", "tensorboard"]

# Keeps one picture: (tag, step, picture) -> None. If it has a `close()`, the Monitor calls that at its end.
Writer = Callable[[str, int, Picture], None]


class Monitor:
    """Writes pictures of a model while it trains. The one object of this library that has state.

        with Monitor(tensorboard("logs"), {"conv1": views.Activations(image, "conv1")}, every=100) as monitor:
            for step, batch in enumerate(batches):
                …
                monitor(step, model, net)

    A view or a writer that fails raises at a call soon after, on whatever step, or when the Monitor closes. A Monitor
    that is not closed finishes its pictures at the end of the program. Steps in between cost a division, and only
    process 0 writes. The thread does not see what a `with` of JAX's configuration sets (`jax.default_device` …); views
    run on the device of the parameters, or on the first one that holds them.

    Args:
        writer: `tensorboard(logdir)`, `pictures(folder)`, or any function `(tag, step, picture)`; for a SummaryWriter
            of your own, `lambda tag, step, picture: summary.add_image(tag, picture, step, dataformats="HWC")`.
        views: tag → view; see `views`.
        every: steps from one set of pictures to the next; step 0 has one.

    Raises:
        InputError: no writer, no views, or `every` below 1.
    """

    def __init__(self, writer: Writer, views: Mapping[str, View], every: int = 100):
        if not callable(writer):
            raise InputError(f"a Monitor writes by tensorboard(logdir) or pictures(folder); given: {writer!r}")
        if every < 1 or not views:
            raise InputError(f"a Monitor needs views and a step count of 1 or more; given: {len(views)}, every={every}")
        self._writer, self._views, self._every = writer, dict(views), every
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jaxviz-monitor")
        self._pending: deque[Future] = deque()  # sets of pictures, the one at work first
        self._finish = weakref.finalize(self, _finish, self._thread, self._pending, writer)

    def __call__(self, step: int, model: Model, params: Any = None) -> None:
        """Write the pictures of this step, if it has any, and raise what failed since the last call.

        Args:
            step: a Python number: reading a JAX array would wait for the device.
            model: as `wrap` or `load` made it, before the training began.
            params: the parameters as they are now: the nnx module that is being trained (it stays as it is, in
                training mode), its whole state, or linen's variables; None: those in `model`.

        Raises:
            InputError: parameters of another structure than the model's, or the Monitor is closed.
        """
        due = step % self._every == 0 and jax.process_index() == 0
        if due and len(self._pending) == 2:
            wait([self._pending[0]])
        if self._pending and self._pending[0].done():
            self._pending.popleft().result()
        if not due:
            return
        if not self._finish.alive:
            raise InputError("this Monitor is closed: call it inside its `with` block")
        params = _snapshot(model.params if params is None else _current(model, params))
        now = dataclasses.replace(model, params=params)
        self._pending.append(self._thread.submit(_write, self._writer, self._views, step, now))

    def close(self) -> None:
        """Finish the pictures, close the writer, and raise what failed since the last call; again: nothing."""
        self._finish()

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"the Monitor failed as well: {failure!r}")  # the training's own error is the one to see


def _finish(thread: ThreadPoolExecutor, pending: deque[Future], writer: Writer) -> None:
    thread.shutdown()
    try:
        for future in pending:
            future.result()
    finally:
        getattr(writer, "close", lambda: None)()


def _write(writer: Writer, views: Mapping[str, View], step: int, model: Model) -> None:
    for tag, view in views.items():
        try:
            picture = np.asarray(view(model))
            if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
                raise InputError(f"a view returns uint8 [h w 3]; given: {picture.dtype} {list(picture.shape)}")
            writer(tag, step, picture)
        except Exception as failure:
            failure.add_note(f"in the Monitor's view {tag!r} at step {step}")
            raise


def _current(model: Model, params: Any) -> Any:
    """New leaves in the structure that the model has, so that nothing can retrace.

    What differs between training and evaluation (dropout, batch statistics in use) is static, not in nnx' state.
    """
    params = nnx.state(params) if isinstance(params, nnx.Module) else params
    wanted, given = _names(model.params), _names(params)
    if wanted != given:
        missing, extra = (", ".join(sorted(set(a) - set(b))[:3]) for a, b in ((wanted, given), (given, wanted)))
        raise InputError(
            "these parameters do not fit the model, which takes the module that was wrapped, its whole state, or all "
            f"of linen's variables; missing: {missing or 'none'}; not in the model: {extra or 'none'}"
        )
    return jax.tree.unflatten(jax.tree.structure(model.params), jax.tree.leaves(params))


def _names(params: Any) -> list[str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def _snapshot(params: Any) -> Any:
    """A copy on one device, on its way when this returns: the training's next step may take the originals' memory."""
    arrays = [leaf for leaf in jax.tree.leaves(params) if isinstance(leaf, jax.Array)]
    device = arrays[0].addressable_shards[0].device if arrays else None

    def here(leaf: Any) -> Any:  # of a replicated array our own replica: other processes take no part in this
        return leaf.addressable_data(0) if isinstance(leaf, jax.Array) and leaf.is_fully_replicated else leaf

    return jax.device_put(jax.tree.map(here, params), device, may_alias=False)


def pictures(folder: str | os.PathLike[str]) -> Writer:
    """A writer of PNG files, `folder/tag/00000100.png` for step 100: sorted by name is sorted by time."""

    def write(tag: str, step: int, picture: Picture) -> None:
        if not set(tag.split("/")).isdisjoint({"", ".", ".."}):
            raise InputError(f"a tag is names joined with single slashes, as folders are; given: {tag!r}")
        path = Path(folder, tag, f"{step:08d}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        write_image(path, picture)

    return write


def tensorboard(logdir: str | os.PathLike[str]) -> Writer:
    """A writer of an event file in `logdir`, which `tensorboard --logdir` shows under Images while the training runs.

    TensorBoard reads one growing file per folder: if another writer logs scalars there, give this one a subfolder.

    Raises:
        ImportError: tensorboardX is not installed.
    """
    try:
        import tensorboardX as tensorboardX
    except ImportError:
        raise ImportError("a TensorBoard log needs tensorboardX: pip install tensorboardX") from None
    return _EventFile(os.fspath(logdir))


class _EventFile:
    """Pictures in TensorBoard's format, each on the disk before the next.

    Not through tensorboardX's SummaryWriter: when a write fails its thread dies, and the tenth call waits forever.
    """

    def __init__(self, logdir: str):
        self._logdir = logdir
        self._file: Any = None

    def __call__(self, tag: str, step: int, picture: Picture) -> None:
        from tensorboardX.event_file_writer import EventsWriter, directory_check
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import image

        if self._file is None:  # opened by the first picture: the other processes have none
            directory_check(self._logdir)
            # Files are named by the second, so that two writers would share one.
            self._file = EventsWriter(os.path.join(self._logdir, "events"), f".{secrets.token_hex(4)}")
        self._file.write_event(Event(wall_time=time.time(), step=step, summary=image(tag, picture, dataformats="HWC")))
        self._file.flush()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
