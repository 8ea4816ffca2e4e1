"""The two networks as the paper prints them: Howard et al. 2019, arXiv:1905.02244, tables 1 and 2."""

from ..spec import HARD_SWISH, RELU, Block

HS, RE = HARD_SWISH, RELU

# fmt: off
LARGE = (          # table 1
    #     k  expand  out    se  act stride
    Block(3,   16,   16, False, RE, 1),
    Block(3,   64,   24, False, RE, 2),
    Block(3,   72,   24, False, RE, 1),
    Block(5,   72,   40, True,  RE, 2),
    Block(5,  120,   40, True,  RE, 1),
    Block(5,  120,   40, True,  RE, 1),
    Block(3,  240,   80, False, HS, 2),
    Block(3,  200,   80, False, HS, 1),
    Block(3,  184,   80, False, HS, 1),
    Block(3,  184,   80, False, HS, 1),
    Block(3,  480,  112, True,  HS, 1),
    Block(3,  672,  112, True,  HS, 1),
    Block(5,  672,  160, True,  HS, 2),
    Block(5,  960,  160, True,  HS, 1),
    Block(5,  960,  160, True,  HS, 1),
)
SMALL = (          # table 2
    #     k  expand  out    se  act stride
    Block(3,   16,   16, True,  RE, 2),
    Block(3,   72,   24, False, RE, 2),
    Block(3,   88,   24, False, RE, 1),
    Block(5,   96,   40, True,  HS, 2),
    Block(5,  240,   40, True,  HS, 1),
    Block(5,  240,   40, True,  HS, 1),
    Block(5,  120,   48, True,  HS, 1),
    Block(5,  144,   48, True,  HS, 1),
    Block(5,  288,   96, True,  HS, 2),
    Block(5,  576,   96, True,  HS, 1),
    Block(5,  576,   96, True,  HS, 1),
)
# fmt: on


def minimalistic(table):
    """The same channels with ReLU, 3x3 kernels and no squeeze-and-excitation (TensorFlow's "minimalistic" networks)."""
    return tuple(block._replace(kernel=3, se=False, act=RE) for block in table)
