"""Containers of weights: one file for each format, and the checks that keep a hostile file harmless."""
