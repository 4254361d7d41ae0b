"""Claim: on popular networks, all common work takes no more time than in TensorFlow, Keras on JAX and PyTorch.

    python benchmarks/networks.py [--only NETWORK …]

`network_works.py` says what the networks are, and `network_contenders.py` how everybody does the work. Everybody works
in a process of its own, in turn. The peers work in one batch or image by image, whichever is faster for each (this is
tried before the rounds). The answers are compared before any time is printed; those of SmoothGrad on the peer's noisy
copies, and the scores of the ascent in its first two steps. The floor counts all multiplications of the network, which
XLA reports, at the speed of a large matrix product, once for each pass: a gradient has two.
"""

import functools
import tempfile
from typing import Any

from common import OURS, Limits, contenders, faster_batch, options, race, row
from network_contenders import POINTS, SAMPLES, WAYS, WINDOWS
from network_works import FILTERS, IMAGES, NETWORKS, Prepared, Work, grey, keep, pictures, prepare

STEPS = 4


def works(prepared: Prepared) -> list[Work]:
    """The work on one network that is timed once everything is compiled."""
    images = pictures(prepared.shape)
    one, ascent = images[:1], (prepared.middle, STEPS, grey(FILTERS, images.shape[1]))
    climbs = FILTERS * STEPS
    return [
        Work(f"forward pass of {IMAGES} images", "scores", (images,), IMAGES, IMAGES),
        Work("gradient of 1 image", "gradient", (one,), 1, 2),
        Work(f"gradients of {IMAGES} images", "gradient", (images,), IMAGES, 2 * IMAGES),
        Work(f"Grad-CAM of {IMAGES} images", "Grad-CAM", (images,), IMAGES, IMAGES),
        Work(f"integrated gradients, {POINTS} steps", "integrated", (one,), POINTS, 2 * POINTS),
        Work(f"SmoothGrad, {SAMPLES} samples", "SmoothGrad", (one,), SAMPLES, 2 * SAMPLES),
        Work(f"occlusion in {WINDOWS} × {WINDOWS} windows", "occlusion", (one,), 1 + WINDOWS**2, WINDOWS**2),
        Work(f"ascent of {FILTERS} filters, a filter and step", "ascent", ascent, FILTERS, 2 * climbs, climbs),
    ]


def steady(name: str, file: str, prepared: Prepared, limits: Limits, rounds: int) -> list[dict[str, Any]]:
    """The rows of one network, once everything is compiled."""
    layers = NETWORKS[name]
    found = contenders(WAYS, file, prepared.target, layers.last, layers.middle)
    ours = found[OURS]
    whole, part = (ours("multiplications", layer).value / limits.multiplications for layer in (None, layers.middle))
    rows = []
    for work in works(prepared):
        calls = {}
        for who, contender in found.items():
            given = work.given(who)
            batch = 1 if who == OURS else faster_batch(contender, *given, most=work.most)
            calls[who] = functools.partial(contender, *given, batch)
        answers = {who: call().value for who, call in calls.items()}
        others = [who for who in found if who != OURS]
        rows.append(
            row(
                f"{name}, {work.title}",
                race(calls, rounds=rounds),
                per=work.per,
                differences={who: work.difference(answers[who], answers[OURS], ours) for who in others},
                allowed=work.allowed,
                floor=work.passes * (part if work.method == "ascent" else whole),
                wanted=dict.fromkeys(others, 1),
            )
        )
    for contender in found.values():
        contender.end()
    return rows


def main():
    only = {"nargs": "+", "choices": NETWORKS, "default": list(NETWORKS), "metavar": "NETWORK"}
    args = options(__doc__, {"--only": only})
    limits = Limits()
    limits.measure()
    for name in ("MobileNetV2",) if args.quick else args.only:
        with tempfile.TemporaryDirectory() as folder:
            file = f"{folder}/{name}.keras"
            prepared = prepare(name, file)
            rows = steady(name, file, prepared, limits, 1 if args.quick else args.rounds)
            if not args.quick:  # after each network, since all of them take long
                keep("networks", "popular networks, once everything is compiled", name, rows)


if __name__ == "__main__":
    main()
