"""Old module names: `from jaxviz.rules import ZBox`, written for version 0.1, still works.

Version 0.2 sorted the modules into rooms. The old name is one more name of the same module, not a copy of it. Only
names of version 0.1 are here; a new module is never added.
"""

import importlib
import sys

MOVED = {
    "activations": "forward_pass",
    "canvas": "ascent.canvases",
    "cam": "attribution.cams",
    "chunks": "compiling.batches",
    "compilations": "compiling.cache",
    "execution": "compiling.execution",
    "explain": "attribution.explain",
    "fetch": "networks.fetch",
    "figures": "rendering.figures",
    "forwards": "networks.forwards",
    "guided": "attribution.guided",
    "images": "rendering.images",
    "interrupts": "compiling.interrupts",
    "jaxprs": "compiling.jaxprs",
    "keras": "networks.keras",
    "lrp": "attribution.lrp",
    "monitor": "training",
    "narrow": "compiling.one_channel",
    "patches": "compiling.one_window",
    "perturbation": "attribution.perturbation",
    "plan": "ascent.plan",
    "recipes": "ascent.recipes",
    "rgb": "rendering.rgb",
    "rules": "attribution.lrp_rules",
    "score_cam": "attribution.score_cam",
    "taps": "compiling.taps",
    "tf_explain": "attribution.tf_explain",
    "views": "training.views",
    "winograd": "compiling.winograd",
    "wrap": "networks.wrap",
    "xla": "compiling.xla",
}

for _old, _new in MOVED.items():
    sys.modules[f"jaxviz.{_old}"] = importlib.import_module(f"jaxviz.{_new}")
