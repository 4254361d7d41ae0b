"""Published settings of gradient ascent, by name: `style.py` has the type, its law and the checklist for a new one."""

from jaxviz.ascent.recipes.book import chollet as chollet
from jaxviz.ascent.recipes.book import chollet_3rd_edition as chollet_3rd_edition
from jaxviz.ascent.recipes.book import keras_io as keras_io
from jaxviz.ascent.recipes.keras_vis import tf_keras_vis as tf_keras_vis
from jaxviz.ascent.recipes.phases import maco as maco
from jaxviz.ascent.recipes.robust import lucid as lucid
from jaxviz.ascent.recipes.robust import lucid_chain as lucid_chain
from jaxviz.ascent.recipes.robust import lucid_for as lucid_for
from jaxviz.ascent.recipes.robust import xplique as xplique
from jaxviz.ascent.recipes.style import RECIPES as RECIPES
from jaxviz.ascent.recipes.style import Recipe as Recipe
from jaxviz.ascent.recipes.style import Style as Style
