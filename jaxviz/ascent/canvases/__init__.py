"""Canvases: what gradient ascent changes, and the image that it stands for. `canvas.py` has the type and its law."""

from jaxviz.ascent.canvases.alpha import *
from jaxviz.ascent.canvases.canvas import Canvas as Canvas
from jaxviz.ascent.canvases.cppn import *
from jaxviz.ascent.canvases.fourier import *
from jaxviz.ascent.canvases.maco import *
from jaxviz.ascent.canvases.magnitudes import *
from jaxviz.ascent.canvases.pixels import *
from jaxviz.ascent.canvases.pyramid import *
