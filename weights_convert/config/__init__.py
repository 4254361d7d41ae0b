"""Keras' JSON description of a model → Graph, for Keras 1 to 3, and back."""

from .parsing import parse as parse
