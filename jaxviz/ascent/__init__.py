"""What a filter looks for: gradient ascent on an image.

`climb.py` has `sweep` and `ascend`, `step.py` one step for loops of your own, `canvases/` the representations of an
image, `recipes/` published settings, and `plan.py` the algorithm that each layer gets on this machine.
"""

from jaxviz.ascent.climb import *
