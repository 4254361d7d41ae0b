"""Files of weights: how each format is read and written, and the checks that make a hostile file harmless.

`reading.py` recognises the format of a file, and returns what the file holds as a `Saved` (`saved.py`).

- `.keras`: `archive.py`, which finds the weights in the archive with `keras_3.py`
- `.h5`: `h5.py` for the layout of Keras 1 and 2 (and `nested.py` for nested models), `keras_3.py` for that of Keras 3
- `.weights.json`: `shards.py`, an index of several `.h5` files
- `.safetensors`, `.onnx`: `safetensors.py`, `onnx.py`
- any other file: `foreign.py` says what it is, and how to get one that is read
- written for Keras: `write_keras.py`; `notes.py` is what only this package reads in such a file
- safety: `hdf5.py` and `heaps.py` check an HDF5 file before libhdf5 reads it, `isolated.py` reads in another process
"""
