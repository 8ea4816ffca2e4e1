"""From a checkpoint of any source to a dump: which network it is, and its arrays under the source's own names."""

from .checkpoints import convert_state, load_checkpoint
from .convert import Converted, convert
from .identify import Identification, identify, identify_file

__all__ = ["Converted", "Identification", "convert", "convert_state", "identify", "identify_file", "load_checkpoint"]
