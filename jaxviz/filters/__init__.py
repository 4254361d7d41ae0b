"""What a filter sees besides its optimum: the images and crops that excite it, what is ordinary for it, and its inputs.

A *filter* is an index of the last axis of a layer: a channel of `[h w k]`, a unit of `[units]`.
"""
