"""A server of some clients: memory and threads of the process while they ask, and while models come and go.

    PYTHONPATH=. python tests/engines/server.py --clients 8 --minutes 10
    PYTHONPATH=. python tests/engines/server.py --loads 500

Linux alone: memory is what /proc says.
"""

import argparse
import os
import pathlib
import threading
import time

import numpy as np

import npmnv3
from npmnv3.network.plan import make_plan
from npmnv3.network.variants import get_variant
from npmnv3.testing import random_params

MODEL = "torchvision/mobilenet_v3_large"


def memory():
    """Megabytes of this process that are in memory."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def threads():
    return len(os.listdir("/proc/self/task"))


def weights():
    return random_params(make_plan(get_variant(MODEL)), np.random.default_rng(0))


def serve(clients, minutes):
    """Clients that ask without a pause, each with pictures and batches of sizes of its own."""
    model, end, answers = npmnv3.load(MODEL, weights()), time.monotonic() + 60 * minutes, [0] * clients

    def ask(number):
        rng = np.random.default_rng(number)
        while time.monotonic() < end:
            side = (224, 224) if rng.random() < 0.8 else tuple(int(n) for n in 32 * rng.integers(2, 9, 2))
            x = rng.standard_normal((int(rng.integers(1, 5)), 3, *side)).astype(np.float32)
            answers[number] += len(model(x))

    helpers = [threading.Thread(target=ask, args=(number,)) for number in range(clients)]
    for helper in helpers:
        helper.start()
    print("minute  memory MB  threads  pictures", flush=True)
    begun, step = time.monotonic(), min(60.0, 6 * minutes)
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(step, left))
        print(f"{(time.monotonic() - begun) / 60:6.1f}  {memory():9.1f}  {threads():7}  {sum(answers):8}", flush=True)
    for helper in helpers:
        helper.join()


def load_and_drop(loads):
    params, x = weights(), np.zeros((4, 3, 224, 224), np.float32)
    print(" loads  memory MB  threads", flush=True)
    for number in range(1, loads + 1):
        model = npmnv3.load(MODEL, params)
        model(x), model(x[:1])
        del model
        if number in (1, 10) or number % max(loads // 10, 1) == 0:
            print(f"{number:6}  {memory():9.1f}  {threads():7}", flush=True)


def main():
    parser = argparse.ArgumentParser(description="Memory and threads of a server.")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--loads", type=int, help="load and drop a model so often, instead")
    args = parser.parse_args()
    load_and_drop(args.loads) if args.loads else serve(args.clients, args.minutes)


if __name__ == "__main__":
    main()
