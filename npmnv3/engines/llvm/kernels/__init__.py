"""The kernels, each beside its plain NumPy twin; `kernels_for` gives all of them for one machine."""

from . import small
from .conv import conv
from .depthwise import depthwise
from .kernel import VECTORS, Kernel, Machine
from .matvec import matvec
from .pointwise import pointwise

#: Taps and strides (along a row) for which there are kernels.
DEPTHWISE = ((3, 1), (3, 2), (5, 1), (5, 2))
CONV = ((3, 2),)


def kernels_for(machine):
    """{name: Kernel} of all kernels for a `Machine`."""
    kernels = [
        product(machine, halves, float16)
        for product in (pointwise, matvec)
        for halves in range(2, 2 * VECTORS + 1, 1 if machine.halves else 2)
        for float16 in ((False, True) if machine.float16 else (False,))
    ]
    kernels += [depthwise(machine, size, step) for size, step in DEPTHWISE]
    kernels += [conv(machine, size, step) for size, step in CONV]
    kernels += [
        make(machine) for make in (small.copy_rows, small.mean, small.gate_map, small.gate_weights, small.max_pool)
    ]
    return {kernel.name: kernel for kernel in kernels}


__all__ = ["CONV", "DEPTHWISE", "VECTORS", "Kernel", "Machine", "kernels_for"]
