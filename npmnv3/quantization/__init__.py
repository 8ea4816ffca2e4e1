"""What a network loses in eight or sixteen bits, why, and which change saves it; predicted before any engine is asked.

>>> import npmnv3
>>> print(npmnv3.quantize("keras/MobileNetV3Small", "pictures", weights="small.h5").text())

calibrate (a walk over pictures: ranges) -> parameters (grids, integers) -> simulate (the walk with every stored tensor
on its grid) -> judge (what came of it) -> recipes, causes, report
"""

from .run import quantize

__all__ = ["quantize"]
