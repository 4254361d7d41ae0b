"""What a filter looks for: gradient ascent on an image.

`climb.py` has `sweep` and `ascend`, `slots.py` their loop, `step.py` one step for loops of your own, `stop.py` when it
ends, `canvases/` the representations of an image, `transforms/` what is done to it at each step, `recipes/` published
settings, `held.py` a measure of pictures, and `plan.py` the algorithm that each layer gets on this machine.
"""

from jaxviz.ascent.climb import *
