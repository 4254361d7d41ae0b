"""Signals to figures: curves, which may be coloured by an attribution.

    signal [t c] ─► matplotlib Figure, one row of axes for each channel

Law: every value is a point of its curve, at its own place in time. The figures of images are in `figures`, which calls
these for signals.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import matplotlib.figure

DPI = 128
WIDTH, HEIGHT = 9.0, 1.6  # inches of a row of axes
SMALL = 2.4  # inches of width of one of many


def coloured(image: np.ndarray, values: np.ndarray, cmap: str, title: str) -> "matplotlib.figure.Figure":
    """A Figure with the curve of each channel of a signal, coloured by the positive part of an attribution.

    Args:
        image: `[t c]`.
        values: `[t]` for all channels, or `[t c]`.
        cmap: one of matplotlib's colour maps; its first colour is 0 and less, its last the largest value.
    """
    from matplotlib.collections import LineCollection
    from matplotlib.colors import Normalize
    from matplotlib.figure import Figure

    time, count = np.arange(len(image)), image.shape[1]
    high = float(values.max()) if values.max() > 0 else 1.0
    figure = Figure(figsize=(WIDTH, HEIGHT * count + 0.6), dpi=DPI, layout="constrained")
    rows = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for channel, axes in enumerate(rows):
        points = np.stack([time, image[:, channel]], -1)
        shade = values if values.ndim == 1 else values[:, channel]
        # A piece of the curve reaches from half-way before its point to half-way behind it, so each has its own colour.
        middle = (points[1:] + points[:-1]) / 2
        pieces = np.stack([np.concatenate([points[:1], middle]), points, np.concatenate([middle, points[-1:]])], 1)
        lines = LineCollection(list(pieces), cmap=cmap, norm=Normalize(0, high), linewidths=1.6)
        lines.set_array(np.maximum(shade, 0))
        axes.add_collection(lines)
        axes.autoscale()
        axes.margins(0.01, 0.1)
        axes.set_ylabel(f"channel {channel}" if count > 1 else "")
    rows[0].set_title(title)
    rows[-1].set_xlabel("time")
    figure.colorbar(lines, ax=list(rows), format="%.4g")
    return figure


def curves(
    signals: Sequence[np.ndarray], titles: Sequence[str], columns: int, *, zero: bool = False
) -> "matplotlib.figure.Figure":
    """A Figure with one axes for each signal `[t]` or `[t c]`, whose channels are lines.

    Args:
        columns: axes in a row.
        zero: draw the line of 0, too.
    """
    from matplotlib.figure import Figure

    columns = min(columns, len(signals))
    rows = -(-len(signals) // columns)
    size = (max(WIDTH / 2, SMALL * columns), HEIGHT * rows + 0.4)
    figure = Figure(figsize=size, dpi=DPI, layout="constrained")
    places = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, signal, title in zip(places, signals, titles, strict=False):
        if zero:
            axes.axhline(0, color="0.8", linewidth=0.8)
        axes.plot(np.arange(len(signal)), signal, linewidth=0.9)
        axes.set_title(title, fontsize=9)
        axes.tick_params(labelsize=7)
        axes.margins(x=0)
    for axes in places[len(signals) :]:
        axes.remove()
    return figure
