"""Where models come from: Keras files, published weights, Flax modules and plain functions."""
