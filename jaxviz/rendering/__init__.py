"""Arrays to pictures: uint8 RGB, matplotlib figures and image files. Nothing here knows a model."""
