"""Encoders: what a block does to the tokens.

:data:`ENCODERS` lists those of wflow; any object with the methods of :class:`Encoder` serves as well.
"""

from wflow.encoders.attention import KERNELS, Attention, SoftmaxAttention
from wflow.encoders.compiled import Compiled, CompiledEncoder
from wflow.encoders.feedforward import ACTIVATIONS, FeedForward
from wflow.encoders.protocol import Encoder, Group, pairing
from wflow.plain import register

__all__ = [
    "ACTIVATIONS",
    "ENCODERS",
    "KERNELS",
    "Attention",
    "Compiled",
    "CompiledEncoder",
    "Encoder",
    "FeedForward",
    "Group",
    "SoftmaxAttention",
    "pairing",
]

#: The encoders of wflow by the names that files and run files use: the only list of them.
ENCODERS: dict[str, type] = {"attention": Attention, "feedforward": FeedForward}
register(**ENCODERS, **{"softmax-attention": SoftmaxAttention})
