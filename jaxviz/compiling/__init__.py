"""How functions are compiled: rewriting for XLA:CPU, batches, options and the cache."""
