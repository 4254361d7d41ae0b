"""Pictures while a model trains: views of the model, every n steps, for TensorBoard or as PNG files.

    monitor(step, model)   writes view(model) under its tag, for each view, if `every` divides the step

Law: after the first set of pictures, a monitor compiles nothing; new parameters are new leaves of the same pytree.

The call copies the parameters on the device and returns. It does not wait for the copy, and the training may donate or
overwrite its own parameters at once. One background thread runs the views and the writer. At most one set of pictures
waits behind the set at work, so there are at most two copies of the parameters: a training loop that is faster than its
pictures waits for them.
"""

import dataclasses
import weakref
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import Any

import jax
import numpy as np
from flax import nnx

from jaxviz.errors import InputError
from jaxviz.model import Model
from jaxviz.training.views import View
from jaxviz.training.writers import Writer

__all__ = ["Monitor"]


class Monitor:
    """Writes pictures of a model while it trains. It is the only object of this library that has state.

        with Monitor(tensorboard("logs"), {"conv1": views.Activations(image, "conv1")}, every=100) as monitor:
            for step, batch in enumerate(batches):
                …
                monitor(step, model, net)

    If a view or a writer fails, its error is raised by one of the next calls, whatever its step, or when the Monitor
    closes. A Monitor that nobody closes finishes its pictures at the end of the program. A call at a step without
    pictures costs one division. Of several processes, only process 0 writes.

    Views run on the device that holds the parameters, or on the first of several. JAX settings of a `with` block, such
    as `jax.default_device`, do not reach the background thread.

    Args:
        writer: `tensorboard(logdir)`, `pictures(folder)`, or any function `(tag, step, picture)`. For a SummaryWriter
            of your own: `lambda tag, step, picture: summary.add_image(tag, picture, step, dataformats="HWC")`.
        views: {tag: view}, each a function `model -> picture`; `jaxviz.views` has four ready-made ones.
        every: the number of steps from one set of pictures to the next; step 0 has a set.

    Raises:
        InputError: no writer, no views, or `every` below 1.
    """

    def __init__(self, writer: Writer, views: Mapping[str, View], every: int = 100):
        if not callable(writer):
            raise InputError(
                f"writer must be a function, such as tensorboard(logdir) or pictures(folder); given: {writer!r}"
            )
        if every < 1 or not views:
            raise InputError(
                f"a Monitor needs one view or more, and every=1 or more; given: {len(views)} views, every={every}"
            )
        self._writer, self._views, self._every = writer, dict(views), every
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="jaxviz-monitor")
        self._pending: deque[Future[None]] = deque()  # sets of pictures, the one at work first
        self._finish = weakref.finalize(self, _finish, self._thread, self._pending, writer)

    def __call__(self, step: int, model: Model, params: Any = None) -> None:
        """Write the pictures of this step, if it has any, and raise the errors of earlier pictures.

        Args:
            step: a Python number; reading a JAX array would wait for the device.
            model: the model that `wrap` or `load` made before the training began.
            params: the present parameters. For nnx the module that is being trained (it is not changed, and stays in
                training mode) or its whole state; for linen its variables. None: those in `model`.

        Raises:
            InputError: the parameters do not have the structure of the model's, or the Monitor is closed.
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
        """Finish the pictures, close the writer, and raise the errors of earlier pictures.

        A second call does nothing.
        """
        self._finish()

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as failure:
            if error is None:
                raise
            error.add_note(f"the Monitor failed as well: {failure!r}")  # the error of the training comes first


def _finish(thread: ThreadPoolExecutor, pending: deque[Future[None]], writer: Writer) -> None:
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
                raise InputError(f"a view must return uint8 [h w 3]; given: {picture.dtype} {list(picture.shape)}")
            writer(tag, step, picture)
        except Exception as failure:
            failure.add_note(f"in the Monitor's view {tag!r} at step {step}")
            raise


def _current(model: Model, params: Any) -> Any:
    """The leaves of `params` in the structure of the model's parameters, so that nothing can retrace.

    nnx keeps the difference between training and evaluation mode (dropout, use of batch statistics) in the graph, which
    stays the model's, and not in the state.

    Raises:
        InputError: a leaf is missing, or the model does not have it.
    """
    params = nnx.state(params) if isinstance(params, nnx.Module) else params
    wanted, given = _names(model.params), _names(params)
    if wanted != given:
        missing, extra = (", ".join(sorted(set(a) - set(b))[:3]) for a, b in ((wanted, given), (given, wanted)))
        raise InputError(
            "these parameters do not fit the model; it takes the module that was wrapped, its whole state, or all of "
            f"linen's variables; missing: {missing or 'none'}; not in the model: {extra or 'none'}"
        )
    return jax.tree.unflatten(jax.tree.structure(model.params), jax.tree.leaves(params))


def _names(params: Any) -> list[str]:
    leaves, _ = jax.tree_util.tree_flatten_with_path(params)
    return [jax.tree_util.keystr(path, simple=True, separator="/") for path, _ in leaves]


def _snapshot(params: Any) -> Any:
    """A copy on one device. It is dispatched, not waited for; the next training step may reuse the original memory."""
    arrays = [leaf for leaf in jax.tree.leaves(params) if isinstance(leaf, jax.Array)]
    device = arrays[0].addressable_shards[0].device if arrays else None

    def here(leaf: Any) -> Any:  # this process' own replica of a replicated array: no other process takes part in this
        return leaf.addressable_data(0) if isinstance(leaf, jax.Array) and leaf.is_fully_replicated else leaf

    return jax.device_put(jax.tree.map(here, params), device, may_alias=False)
