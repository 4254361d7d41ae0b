"""Pictures while a model trains: the monitor, the views that it draws, and the writers that keep them."""

from jaxviz.training.monitor import *
from jaxviz.training.writers import *
