"""Every benchmark, one after the other, each in a process of its own; then a page with their tables and plots.

    python benchmarks/suite.py [NAME …] [--quick] [--report]

The page is `results/README.md`. It is made from the result files of all devices: run the suite on another device, and
its tables appear beside the first. The suite needs the extra `test`, and these peers, which the tests do not need:

    pip install torch==2.13.0 tf-keras-vis==0.8.7 decorator future
    pip install --no-deps captum==0.9.0 torch-lucent==0.1.8 kornia==0.9.0 kornia_rs==0.2.0
    pip install --no-deps --ignore-requires-python zennit==1.0.0
"""

import argparse
import subprocess
import sys
import time

import report
from common import HERE

NAMES = (
    "filter_sweep",
    "robust_sweep",
    "ascent_profile",
    "full_gradient",
    "networks",
    "networks_first",
    "attribution",
    "scaling",
    "top_images",
    "start_up",
    "load_time",
    "monitor",
    "atlas",
    "page_load",
)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"benchmarks to run, of {', '.join(NAMES)}; all if none is given"
    )
    parser.add_argument("--quick", action="store_true", help="less work and one round, to see that the scripts run")
    parser.add_argument(
        "--report", action="store_true", help="make the page from the result files, and run no benchmark"
    )
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
