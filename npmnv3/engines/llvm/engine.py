"""The llvm engine as a whole: fold, fuse and pack once for a network, make a program once for a size, then run."""

import contextlib
import functools
import math
import os

import numpy as np

from ...errors import UsageError
from ...network.counts import picture_channels, step_macs
from ..cores import quota_threads, thread_count
from .compiler import library
from .fold_constants import fold
from .fuse import fuse
from .memory import address_of
from .pack import Weights
from .programs import Bound, Programs
from .schedule import schedule, split_head
from .threads import TEAM, Tasks

#: Pictures whose pooled channels go through the head together.
HEAD_PICTURES = 56

#: Pictures of a batch that go through each squeeze-and-excitation together: its weights come from far and are used only
#: once for each picture, so they are read once for all of these.
TOGETHER = 4

#: Multiply-adds of a picture from which on several threads share it: with fewer, waiting for each other costs more than
#: sharing saves.
SHARED_MACS = 5_000_000


class LlvmEngine:
    """Runs a network with compiled kernels, in float32.

    Parameters
    ----------
    plan_for : callable (side or None) -> tuple of Step for an input of (H, W) pixels, with batch norm or without
    params : {source's name: array as the source stores it}
    threads : int, see `thread_count`
    weight_dtype : "float32" or "float16", what the linear layers' weights are kept in: the arithmetic is float32's

    The same picture gives the same bits in any batch and with any number of threads. One engine may be called from many
    threads at once. With NPMNV3_DEBUG=1 every command is checked before it runs, and memory between buffers after.
    """

    name, dtype = "llvm", np.dtype(np.float32)

    def __init__(self, plan_for, params, *, threads=None, weight_dtype="float32"):
        self._plan_for, self.threads = plan_for, thread_count(threads)
        # Of more threads than the quota keeps busy some would stand still, and the others wait for them.
        self._sharing = min(self.threads, quota_threads())
        self._library = library(weight_dtype == "float16")
        debug = os.environ.get("NPMNV3_DEBUG") == "1"
        plan = plan_for(None)
        layers = fuse(plan)
        self._weights = Weights(layers, fold(plan, params), self._library.machine)
        body, self._head = split_head(layers)
        self._pooled = body[-1]
        self._classes, self._gain = plan[-1].shape[0], _gain(plan)
        self._channels = picture_channels(plan)
        # The first convolution halves both sides.
        self._macs_per_pixel = sum(step_macs(step) for step in plan) / (4 * math.prod(plan[0].shape[1:]))
        # Neither of these refers to the engine: without cycles its memory is freed with the last reference to it.
        self._schedules = _Schedules(plan_for, self._weights, self._library, self._head, self._pooled, debug)
        self._programs = Programs(functools.partial(Bound, weights=self._weights, library=self._library, debug=debug))

    def run(self, x):
        """Logits.

        Parameters
        ----------
        x : (N, 3, H, W) float32, C-contiguous, N at least 1

        Returns
        -------
        (N, classes) float32, a new array
        """
        return self._all(x, self._head, self._classes)

    def features(self, x):
        """What the classifier gets, (N, F) float32, for x as in `run`."""
        head = self._head[:-1]
        channels = head[-1].shape[0] if head else self._pooled.shape[0]
        return self._all(x, head, channels) * np.float32(self._gain)

    def profile(self, x, rounds=20):
        """Where the time of one picture goes, in one thread.

        Parameters
        ----------
        x : (1, 3, H, W) float32, C-contiguous
        rounds : int, the quickest of which counts, for each command

        Returns
        -------
        list of LayerTime, see `profile`
        """
        from .profile import layer_times, time_commands

        plan = self._plan_for(x.shape[2:])
        with self._borrow_body(x.shape[2:], self._head) as program:
            program.read_from(x)
            seconds, peak = time_commands(self._library, program.commands[0], program.program.labels[0], rounds)
        return layer_times(seconds, peak, fuse(plan), plan)

    def workspace_bytes(self, side):
        """Memory besides the weights, in bytes, for pictures of `side` (height, width).

        Returns
        -------
        (for a caller with one picture, for each thread that works on a batch)
        """
        side = tuple(side)
        with (
            self._borrow_body(side, self._head) as alone,
            self._borrow_body(side, pictures=TOGETHER) as body,
            self._borrow_head(self._head, HEAD_PICTURES) as head,
        ):
            return alone.nbytes, body.nbytes + head.nbytes

    @property
    def weight_bytes(self):
        """Memory of the packed weights, shared by all callers."""
        return self._weights.block.nbytes

    def _all(self, x, head, channels):
        if x.ndim != 4 or x.shape[1] != self._channels:
            raise UsageError(f"x has the shape {x.shape}, expected (N, {self._channels}, H, W)")
        x = np.ascontiguousarray(x, np.float32)  # kernels read by address alone, so the layout must be right
        if len(x) == 1:
            return self._one(x, head)
        out = np.empty((len(x), channels), np.float32)
        most = HEAD_PICTURES * self.threads
        for start in range(0, len(x), most):
            self._some(x[start : start + most], head, out[start : start + most])
        return out

    def _one(self, x, head):
        """One picture: a single program, whose parts the threads share where that pays."""
        side = x.shape[2:]
        worth = self._macs_per_pixel * side[0] * side[1] >= SHARED_MACS and not TEAM.is_resting_long
        # What is cut into parts takes a thread alone up to an eighth longer.
        with self._borrow_body(side, head, self._sharing if worth else 1) as program:
            shared, stalls = program.parts > 1 and not TEAM.is_resting, program.stalls
            if shared:
                program.call_helpers(TEAM)  # first of all, since they take a while to come
            program.read_from(x)
            program.run()
            if shared:
                TEAM.learn(program.at_hand > 0, program.stalls > stalls)
            return program.row.copy()

    def _some(self, x, head, out):
        """Fill `out`: the body for a few pictures at a time, then the head for many; threads share out both."""
        groups, parts = _shares(len(x), self.threads)
        side, address = x.shape[2:], address_of(x)
        with contextlib.ExitStack() as stack:
            tails = [stack.enter_context(self._borrow_head(head, len(part))) for part in parts] if head else []
            targets = {i: tail.input[:, i - part[0] :] for part, tail in zip(parts, tails) for i in part}

            def group(i):
                first, count = groups[i]
                with self._borrow_body(side, pictures=count) as body:
                    body.read_from(x, first, address)
                    body.run()
                    if head:
                        targets[first][:, :count] = body.output
                    else:
                        _read_vectors(body.output, out[first : first + count])

            def part(i):
                tails[i].run()
                _read_vectors(tails[i].output, out[parts[i].start : parts[i].stop])

            self._each(len(groups), group)
            self._each(len(tails), part)

    def _each(self, count, job):
        """job(0), ..., job(count - 1), in this thread or in all."""
        tasks = Tasks(job, count)
        if count > 1 and self.threads > 1:
            TEAM.invite(tasks.help, min(self.threads, count) - 1)
        tasks.finish()

    def _borrow_body(self, side, head=(), parts=1, pictures=1):
        """The program for some pictures, with the layers of `head` after the body."""
        return self._programs.borrow(self._schedules.body, side, len(head), parts, pictures)

    def _borrow_head(self, head, pictures):
        return self._programs.borrow(self._schedules.head, len(head), pictures)


class _Schedules:
    """Makes an engine's programs: its methods with their arguments are the keys under which `Programs` keeps them."""

    def __init__(self, plan_for, weights, library, head, pooled, debug):
        self._plan_for, self._weights, self._library = plan_for, weights, library
        self._head, self._pooled, self._debug = head, pooled, debug

    def body(self, side, of_head, parts, pictures):
        """Some pictures of one side, with the first layers of the head after the body, cut into parts."""
        plan = self._plan_for(side)
        body, head = split_head(fuse(plan))
        return schedule(
            (*body, *head[:of_head]),
            self._weights,
            self._library,
            picture=(picture_channels(plan), *side),
            pictures=pictures,
            parts=parts,
            guard=self._debug,
        )

    def head(self, of_head, pictures):
        """The first layers of the head, of some pictures' pooled channels."""
        head = self._head[:of_head]
        given = (head[0].inputs[0], self._pooled.shape[0])
        return schedule(head, self._weights, self._library, head_input=given, pictures=pictures, guard=self._debug)


def _shares(n, threads):
    """How n pictures are shared out: groups [(first, count)] for the body, and parts [range] of pictures for the head.

    Every thread gets the same number of groups of TOGETHER pictures; each picture left over is a group by itself. No group
    is in two parts.
    """
    threads = min(threads, n)
    several = n // (TOGETHER * threads) * TOGETHER * threads
    groups = [(i, TOGETHER) for i in range(0, several, TOGETHER)] + [(i, 1) for i in range(several, n)]
    ends = [*(groups[len(groups) * i // threads][0] for i in range(threads)), n]
    return groups, [range(*part) for part in zip(ends, ends[1:])]


def _read_vectors(vectors, out):
    """(planes, N, width) vectors of channels as (N, channels)."""
    n, channels = out.shape
    out[...] = vectors.transpose(1, 0, 2).reshape(n, -1)[:, :channels]


def _gain(plan):
    """Constant factor on the classifier's input, which the engine keeps in the classifier's weights."""
    steps, name, gain = {step.name: step for step in plan}, plan[-1].inputs[0], 1.0
    while name in steps and steps[name].op in ("scale", "identity"):
        gain *= steps[name].factor
        name = steps[name].inputs[0]
    return gain
