"""Claim: a filter and step costs the same in a sweep of 8 or 512 filters, and of 10 or 1,000 steps; memory stays.

    python benchmarks/scaling.py

The work is Chollet's ascent on the real VGG16 base, compiled before. Filters: `block4_conv1` at 64², two steps; the
sweep of 8 is repeated until it has done as much as the sweep of 512. Steps: 8 filters of `block2_conv1` at 64². The
peak memory is that of a fresh process that does nothing else.
"""

import numpy as np
from common import Contender, options, race, row, write

SIZE, FEW, MANY = 64, 8, 512
SHORT, LONG = 10, 1000


def jaxviz():
    """A function `sweep(layer, filters, steps, times)`: it sweeps the first `filters` filters, `times` times."""
    import jaxviz as jv

    model = jv.load("vgg16_demo", inputs="raw255")

    def sweep(layer, filters, steps, times):
        recipe = jv.recipes.chollet(size=SIZE, steps=steps)
        for _ in range(times):
            jv.sweep(model, jv.channels(model, layer, range(filters)), **recipe)

    return sweep


def flat(work, contender, layer, cases, rounds):
    """The row of several cases `{name: (filters, steps, times)}` of equal work, compared with the first case."""
    contender(layer, FEW, 1, 1)
    ways = {name: (lambda case=case: contender(layer, *case)) for name, case in cases.items()}
    seconds = race(ways, rounds=rounds)
    first, *_, last = cases
    total = np.prod(cases[last])
    return row(work, seconds, per=total, ours=first, wanted=None)


def main():
    args = options(__doc__)
    many, long = (64, 50) if args.quick else (MANY, LONG)
    contender = Contender(jaxviz)
    rows = [
        flat(
            "filters in a sweep, block4_conv1, 64²",
            contender,
            "block4_conv1",
            {f"{count} filters": (count, 2, many // count) for count in (FEW, many)},
            1 if args.quick else args.rounds,
        ),
        flat(
            "steps of an ascent, block2_conv1, 64²",
            contender,
            "block2_conv1",
            {f"{count} steps": (FEW, count, long // count) for count in (SHORT, long)},
            1,  # one round is enough, as it averages over a thousand steps
        ),
    ]
    contender.end()
    peaks = {}
    for count in (FEW, many):
        fresh = Contender(jaxviz)
        peaks[f"{count} filters"] = round(fresh("block4_conv1", count, 2, 1).peak)
        fresh.end()
    print("peak memory, MB:", peaks)
    if not args.quick:
        results = {
            "claim": "ms per filter and step, however many of them; the aim is flat within 10 %",
            "rows": rows,
            "peak memory, MB": peaks,
        }
        print(write("scaling", results))


if __name__ == "__main__":
    main()
