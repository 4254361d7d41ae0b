"""Keras files → Flax networks whose activations can be read and edited: `load(path)` returns a `KerasNet`."""

from .architectures import ARCHITECTURES as ARCHITECTURES
from .architectures import Architecture as Architecture
from .errors import KerasFileError as KerasFileError
from .errors import NotReadable as NotReadable
from .errors import UnsafeFile as UnsafeFile
from .errors import UnsupportedLayer as UnsupportedLayer
from .errors import WeightMismatch as WeightMismatch
from .files.onnx import demo_file as demo_file
from .files.reading import read as read
from .files.saved import Saved as Saved
from .files.saved import Weight as Weight
from .fixing import fix as fix
from .graph import Graph as Graph
from .graph import Node as Node
from .inputs import CAFFE as CAFFE
from .inputs import INPUTS as INPUTS
from .inputs import RAW255 as RAW255
from .inputs import TF as TF
from .inputs import TORCH as TORCH
from .inputs import UNIT as UNIT
from .inputs import Inputs as Inputs
from .loading import load as load
from .net import KerasNet as KerasNet
from .saving import save as save

# isort: split
from . import moved as moved  # last: it needs all of them

__version__ = "0.3.0"  # of the distribution `jaxviz-engine`, which holds both packages
