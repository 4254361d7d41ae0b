"""What a filter looks for: gradient ascent on an image.

`climb.py` has `sweep` and `ascend`, `slots.py` their loop, `step.py` one step for loops of your own, `stop.py` when it
ends, `canvases/` the representations of an image, `transforms/` what is done to it at each step, `recipes/` published
settings, `held.py` a measure of pictures, and `plan.py` the algorithm that each layer gets on this machine.

Other uses: `film.py` shows an ascent frame by frame; `dream.py`, `caricature.py`, `accentuate.py` and
`style_transfer.py` begin with a photograph; `beside.py` compares with it at each step.
"""

from jaxviz.ascent.climb import *
