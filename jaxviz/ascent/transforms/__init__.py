"""Transforms: what is done to an image before the network sees it, drawn anew for each item and step of an ascent.

`jv.transforms.<Name>`: `transform.py` has the type, its law, and what may be drawn; `affine.py` moves, scales, turns
and shears in one resample; `shifts.py` moves pixels, `values.py` changes their values, `collapse.py` ends opacity.
"""

from jaxviz.ascent.transforms.affine import Affine as Affine
from jaxviz.ascent.transforms.collapse import Collapse as Collapse
from jaxviz.ascent.transforms.shifts import Crop as Crop
from jaxviz.ascent.transforms.shifts import Flip as Flip
from jaxviz.ascent.transforms.shifts import Jitter as Jitter
from jaxviz.ascent.transforms.shifts import Pad as Pad
from jaxviz.ascent.transforms.shifts import Resize as Resize
from jaxviz.ascent.transforms.shifts import Roll as Roll
from jaxviz.ascent.transforms.transform import Chain as Chain
from jaxviz.ascent.transforms.transform import OneOf as OneOf
from jaxviz.ascent.transforms.values import Blur as Blur
from jaxviz.ascent.transforms.values import Contrast as Contrast
from jaxviz.ascent.transforms.values import Noise as Noise
