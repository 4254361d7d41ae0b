"""Canvases: what gradient ascent changes, and the image that it stands for."""
