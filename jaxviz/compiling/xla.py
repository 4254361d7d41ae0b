"""The names of `jaxviz.xla`, a module of version 0.1 that is now jit.py, rewrite.py and batches.py.

Nothing in jaxviz imports this file; `jaxviz.moved` makes it importable under its old name.
"""

from jaxviz.compiling.batches import ON_CPU as ON_CPU
from jaxviz.compiling.batches import at_once as at_once
from jaxviz.compiling.batches import map_in_loop
from jaxviz.compiling.execution import AS_USUAL as AS_USUAL
from jaxviz.compiling.jit import Jit as Jit
from jaxviz.compiling.jit import jit as jit
from jaxviz.compiling.rewrite import CHANNELS as CHANNELS
from jaxviz.compiling.rewrite import FEW as FEW
from jaxviz.compiling.rewrite import PIXELS as PIXELS
from jaxviz.compiling.rewrite import STEPS as STEPS
from jaxviz.compiling.rewrite import Choice as Choice
from jaxviz.compiling.rewrite import choices as choices
from jaxviz.compiling.rewrite import rewrite as rewrite

over = map_in_loop
