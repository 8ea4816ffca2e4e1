"""Measure npmnv3 against the engines that are installed, and print tables: python -m bench --help"""

import argparse
import datetime
import os
import platform
import sys

import numpy as np

from npmnv3.engines.plan_engine import PlanEngine
from npmnv3.errors import Npmnv3Error
from npmnv3.evaluation.confusion import check_plot
from npmnv3.network.variants import get_variant, list_models

from .engines import ENGINES, installed
from .measure import build, cold_start, disagreement, take_turns
from .networks import Network
from .ours import print_engines

BASE = "onnxruntime"
#: The other two of ours, much slower, would empty everybody's caches; they have a table of their own.
FAST = [name for name in ENGINES if name not in ("npmnv3 numba", "npmnv3 numpy")]
DEFAULT_NETWORKS = ("torchvision/mobilenet_v3_large", "torchvision/mobilenet_v3_small")
CHECKED = 8  # pictures on which the engines are compared with the float64 oracle


def main():
    try:
        _run(_options())
    except Npmnv3Error as error:
        sys.exit(f"python -m bench: {error}")


def _run(options):
    if options.plot:
        check_plot(options.plot)  # before all the work
    networks = list_models() if options.all else options.networks
    for name in networks:
        get_variant(name)
    names, lacking = installed()
    names = [name for name in names if name in (options.engines or FAST)]
    print(f"{datetime.date.today()}, {platform.system()} {platform.machine()}, {_processor()}, {os.cpu_count()} cores")
    for name, missing in lacking.items():
        print(f"not installed: {name} (needs {', '.join(missing)})")
    summary = []
    for name in networks:
        network = Network(name)
        for side in options.sides:
            at, title = (Network(name, side=side), f"{name} at {side}") if side else (network, name)
            for threads in options.threads:
                for batch in options.batches:
                    summary.append((title, batch, threads, _compare(names, at, batch, threads, options.seconds)))
        print_engines(network)
        if options.layers:
            _layers(network)
    if options.cold:
        _cold(names, networks)
    if options.plot:
        from .plot import plot

        plot(summary, [Network(name) for name in networks], BASE, options.plot)


def _options():
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__.partition(":")[0])
    parser.add_argument(
        "networks", nargs="*", default=DEFAULT_NETWORKS, help="source/variant; default torchvision's two"
    )
    parser.add_argument("--all", action="store_true", help="all networks")
    parser.add_argument(
        "--engines",
        nargs="+",
        choices=ENGINES,
        metavar="NAME",
        help="only these; default all but npmnv3's numba and numpy",
    )
    parser.add_argument("--batches", nargs="+", type=_count, default=[1, 8, 32])
    parser.add_argument("--sides", nargs="+", type=_count, default=[None], help="of the input, pixels; default its own")
    parser.add_argument("--threads", nargs="+", type=_count, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=4.0, help="for a line of the table; default 4")
    parser.add_argument("--layers", action="store_true", help="also where our own time goes")
    parser.add_argument("--cold", action="store_true", help="also a new process to its first answer, and its memory")
    parser.add_argument("--plot", metavar="FILE", help="also draw the figures")
    return parser.parse_args()


def _count(text):
    if (count := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}, expected a whole number from 1")
    return count


def _processor():
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def _compare(names, network, batch, threads, seconds):
    """Time all engines on one network, print and give back {engine: Times}."""
    x = network.pictures(batch)
    runs = build(names, network, batch, threads)
    oracle = PlanEngine(network.plan_for, network.params, np.float64)
    errors = disagreement(runs, network.pictures(CHECKED), oracle.run) if batch == 1 else {}
    times = take_turns(runs, x, seconds)
    height, width = network.side
    where = f"{height}x{width}, batch {batch}, {threads} thread{'s' if threads > 1 else ''}"
    print(f"\n{network.name}, {where}: ms a picture")
    for name, time in times.items():
        error = f"  max error {errors[name]:.1e} of the largest logit" if name in errors else ""
        print(
            f"  {name:14} {time.median:8.3f}  ({time.low:.3f} - {time.high:.3f}) {_ratio(time, times.get(BASE))}{error}"
        )
    return times


def _ratio(time, base):
    if base is None:
        return ""
    ratio = time.against(base)
    return f"{ratio.median:6.2f} x {BASE} ({ratio.low:.2f} - {ratio.high:.2f})"


def _layers(network):
    from npmnv3.engines.llvm import LlvmEngine

    engine = LlvmEngine(network.plan_for, network.params, threads=1)
    print(f"\n{network.name}: where the time goes\n  {'layers':72} {'us':>8} {'MMACs':>8} {'of peak':>8}")
    for row in engine.profile(network.pictures(1)):
        print(f"  {row.name:72} {1e3 * row.milliseconds:8.1f} {row.macs / 1e6:8.2f} {row.share:8.0%}")
    print(
        f"  weights {engine.weight_bytes / 1e6:.1f} MB, workspace {engine.workspace_bytes(network.side)[0] / 1e6:.1f} MB"
    )


def _cold(names, networks):
    print("\na new process that loads the weights and answers once: ms from start to end, and peak memory in MB")
    for network in map(Network, networks):
        rows = [(name, name, {}) for name in names]
        rows.insert(1, ("npmnv3 llvm, no cache", "npmnv3 llvm", {"NPMNV3_CACHE": os.devnull}))
        for label, name, environment in rows:
            spent, peak = cold_start(name, network, environment)
            print(f"  {network.name:42} {label:22} {spent:8.0f} {peak:8.0f}")


if __name__ == "__main__":
    main()
