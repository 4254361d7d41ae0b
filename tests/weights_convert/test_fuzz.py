"""Spoiled files.

Law: loading any file gives a network or one of our own errors; it never crashes, hangs, or uses memory without end. A
hundred files of each format are spoiled here; `benchmarks/fuzz_files.py` spoils ten thousand of them.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FORMATS = ("h5", "h5 weights", "weights.h5", "weights.json", "keras", "safetensors")
COUNT = 60


def test_spoiled_files():
    """None crashes, hangs, takes a GiB, or ends in an error that is not ours."""
    command = [sys.executable, ROOT / "benchmarks" / "fuzz_files.py", *FORMATS, "--count", str(COUNT), "--only"]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert done.stdout, done.stderr
    results = json.loads(done.stdout)
    assert {kind: result["bad"] for kind, result in results.items()} == {kind: {} for kind in FORMATS}
    for result in results.values():
        assert sum(result["outcomes"].values()) == COUNT
        assert len(result["outcomes"]) > 2  # some load, and the others fail in several ways
