"""Old module names: `from weights_convert.saved import sha256`, written for version 0.1, still works.

Version 0.2 sorted the modules into rooms. The old name is one more name of the same module, not a copy of it. Only
names of version 0.1 are here; a new module is never added.
"""

import importlib
import sys

MOVED = {
    "archive": "files.archive",
    "calls": "config.calls",
    "containers": "files.keras_3",
    "describe": "config.describe",
    "description": "config.description",
    "fix": "fixing",
    "h5": "files.h5",
    "hdf5": "files.hdf5",
    "heaps": "files.heaps",
    "isolated": "files.isolated",
    "keras_order": "config.keras_order",
    "listing": "config.listing",
    "load": "loading",
    "nested": "files.nested",
    "notes": "files.notes",
    "onnx": "files.onnx",
    "operations": "config.operations",
    "parts": "files.shards",
    "read": "files.reading",
    "safetensors": "files.safetensors",
    "save": "saving",
    "saved": "files.saved",
    "spelling": "config.versions",
    "write_keras": "files.write_keras",
}

for _old, _new in MOVED.items():
    sys.modules[f"weights_convert.{_old}"] = importlib.import_module(f"weights_convert.{_new}")
