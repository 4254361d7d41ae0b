"""Where models come from: Keras files, published weights, and Flax modules."""
