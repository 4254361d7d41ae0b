"""Where a decision comes from: gradients, class activation maps, perturbations and LRP."""

from jaxviz.attribution.gradients import *
from jaxviz.attribution.smoothing import *
