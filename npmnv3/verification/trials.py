"""A fault tried on a port, what it gained, and what the search for faults may cost."""

from dataclasses import dataclass, field

from .changes.edits import Change
from .net import Net

EXPLAINS = 6.0  # dB in all, and
RISES = 3.0  # dB on average over the tensors it touches, that a fault must gain to be looked at
WORK = 350.0  # runs of the whole network that a search may cost


class Budget:
    """What a search may cost and has cost so far, in runs of the whole network.

    Parameters
    ----------
    limit : float
    report : callable (work done, text), for a progress bar
    """

    def __init__(self, limit=WORK, report=lambda done, text: None):
        self.limit, self.report, self.costs = limit, report, []

    @property
    def spent(self):
        return sum(self.costs) > self.limit

    def tell(self, text):
        """Show how far the search is, and what is being tried."""
        self.report(sum(self.costs), text)


@dataclass(eq=False)
class Trial:
    """A fault tried.

    Attributes
    ----------
    change : Change
    net : Net with the fault
    errors : {port tensor's name: squared relative error}
    gain : dB by which the tensors' errors fall, summed, errors below the noise counted as noise
    snr_db, before_db : signal-to-noise over the tensors that the fault touches, with it and without
    blocks : tuple of str, blocks or steps where it is; () everywhere
    steps : tuple of str, the reference's steps that it changes
    touched : set of port tensors' names whose error it changes
    reached : bool, whether the tensors it touches come down to rounding
    base, floors : {port tensor's name: squared relative error} without it, and of honest rounding
    rivals : list of Trial, what else was tried in its place
    """

    change: Change
    net: Net
    errors: dict
    gain: float = 0.0
    snr_db: float = 0.0
    before_db: float = 0.0
    blocks: tuple = ()
    steps: tuple = ()
    touched: set = field(default_factory=set)
    reached: bool = False
    base: dict = field(default_factory=dict)
    floors: dict = field(default_factory=dict)
    rivals: list = field(default_factory=list)

    @property
    def fault(self):
        return self.change.fault

    @property
    def helps(self):
        """Whether the port is nearer with it: enough to look further, not enough to believe."""
        return self.gain >= max(EXPLAINS, RISES * len(self.touched))

    @property
    def believed(self):
        return self.helps and self.reached
