"""jaxviz: see what convolutional networks see.

Every module lists its public names in `__all__`; here they become the names of `jaxviz`.
"""

from jaxviz.compiling.garbage import uncollected

with uncollected():  # an import is a fifth faster
    from jaxviz.ascent import recipes as recipes
    from jaxviz.ascent import transforms as transforms
    from jaxviz.ascent.accentuate import *
    from jaxviz.ascent.canvases import colors as colors
    from jaxviz.ascent.canvases.alpha import *
    from jaxviz.ascent.canvases.cppn import *
    from jaxviz.ascent.canvases.fourier import *
    from jaxviz.ascent.canvases.maco import *
    from jaxviz.ascent.canvases.magnitudes import *
    from jaxviz.ascent.canvases.pixels import *
    from jaxviz.ascent.canvases.pyramid import *
    from jaxviz.ascent.caricature import *
    from jaxviz.ascent.climb import *
    from jaxviz.ascent.dream import *
    from jaxviz.ascent.film import *
    from jaxviz.ascent.held import *
    from jaxviz.ascent.plan import *
    from jaxviz.ascent.stop import *
    from jaxviz.ascent.style_transfer import *
    from jaxviz.atlases.read import *
    from jaxviz.atlases.run import *
    from jaxviz.attribution import lrp_rules as rules
    from jaxviz.attribution import tf_explain as tf_explain
    from jaxviz.attribution.attention import *
    from jaxviz.attribution.cams import *
    from jaxviz.attribution.effects import *
    from jaxviz.attribution.explain import *
    from jaxviz.attribution.gradients import *
    from jaxviz.attribution.guided import *
    from jaxviz.attribution.lrp import *
    from jaxviz.attribution.perturbation import *
    from jaxviz.attribution.score_cam import *
    from jaxviz.attribution.smoothing import *
    from jaxviz.comparisons import *
    from jaxviz.compiling.cache import *
    from jaxviz.compiling.execution import *
    from jaxviz.errors import *
    from jaxviz.filters.crops import *
    from jaxviz.filters.portrait import *
    from jaxviz.filters.responses import *
    from jaxviz.filters.spectra import *
    from jaxviz.filters.top_images import *
    from jaxviz.filters.weights import *
    from jaxviz.forward_pass import *
    from jaxviz.geometry import *
    from jaxviz.groups import *
    from jaxviz.interventions import *
    from jaxviz.model import *
    from jaxviz.networks.attention import *
    from jaxviz.networks.checkpoints import *
    from jaxviz.networks.keras import *
    from jaxviz.networks.wrap import *
    from jaxviz.objectives import *
    from jaxviz.page.site import *
    from jaxviz.paths import *
    from jaxviz.regions import *
    from jaxviz.regularizers import *
    from jaxviz.rendering.figures import *
    from jaxviz.rendering.images import *
    from jaxviz.rendering.portraits import *
    from jaxviz.targets import *
    from jaxviz.tokens import *
    from jaxviz.training import views as views
    from jaxviz.training.monitor import *
    from jaxviz.training.writers import *
    from weights_convert import __version__ as __version__

    # isort: split
    from jaxviz import moved as moved  # last: it needs all of them

del uncollected
