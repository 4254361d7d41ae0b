"""Every benchmark, one after the other in processes of their own, and a page with their tables and plots.

    python benchmarks/suite.py [NAME …] [--quick] [--report]

The page is `results/README.md`. It is made of the result files, whatever device they come from: run the suite on
another device, and its tables appear beside the first. Beside the extra `test` it needs the peers that are no part of
the tests:

    pip install torch==2.13.0 tf-keras-vis==0.8.7 && pip install --no-deps captum==0.9.0
"""

import argparse
import subprocess
import sys
import time

import report
from common import HERE

NAMES = (
    "filter_sweep",
    "ascent_profile",
    "full_gradient",
    "attribution",
    "scaling",
    "start_up",
    "load_time",
    "monitor",
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(NAMES)}; none: all")
    parser.add_argument("--quick", action="store_true", help="less work and one round, to see that they run")
    parser.add_argument("--report", action="store_true", help="make the page of the results there are, and run nothing")
    args = parser.parse_args()
    if unknown := [name for name in args.names if name not in NAMES]:
        parser.error(f"no benchmark {', '.join(unknown)}: there are {', '.join(NAMES)}")
    failed = []
    for name in () if args.report else args.names or NAMES:
        begin = time.perf_counter()
        print(f"\n== {name}", flush=True)
        done = subprocess.run([sys.executable, HERE / f"{name}.py", *(["--quick"] if args.quick else [])], check=False)
        print(f"== {name}: {time.perf_counter() - begin:.0f} s")
        failed += [name] if done.returncode else []
    if not args.quick:
        print(report.write_page())
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
