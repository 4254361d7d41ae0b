"""What Keras layers compute: the table KINDS, one row for each kind of layer. `kind.py` says how to add a kind."""

from .custom import WITH_WEIGHTS as WITH_WEIGHTS
from .custom import bound as bound
from .functions import ACTIVATIONS as ACTIVATIONS
from .functions import MIXING as MIXING
from .functions import Activation as Activation
from .kind import LIST as LIST
from .kind import Config as Config
from .kind import Kind as Kind
from .kind import Shape as Shape
from .operations import CUSTOM as CUSTOM
from .options import REQUIRED as REQUIRED
from .options import Option as Option
from .table import KINDS as KINDS
from .table import OVER as OVER
from .table import TENSORFLOW as TENSORFLOW
from .table import TIME_DISTRIBUTED as TIME_DISTRIBUTED
from .table import activation as activation
from .table import attributes as attributes
from .table import inner_kind as inner_kind
from .table import node as node
from .table import of_frames as of_frames
