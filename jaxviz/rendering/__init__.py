"""Arrays to pictures: uint8 RGB, matplotlib figures and image files. Nothing here depends on JAX or on a model."""
