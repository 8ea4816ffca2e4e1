"""A network's accuracy on labelled pictures, and how far two networks agree, on one machine or many.

>>> from npmnv3.evaluation import Network, evaluate, open_dataset
>>> evaluate([Network("timm/mobilenetv3_large_100", "large.h5")], open_dataset("imagenet/val"), csv="large.csv")

datasets -> pools (threads, or a dask cluster) of work (decode, run) -> results (CSV, resumed) -> statistics, confusion
"""

from .accuracy import evaluate
from .agreement import agree
from .datasets import Dataset, open_dataset
from .work import Network

__all__ = ["Dataset", "Network", "agree", "evaluate", "open_dataset"]
