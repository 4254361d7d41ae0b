"""What a filter looks for: gradient ascent on an image, and how the image is represented and published recipes."""

from jaxviz.ascent.climb import *
