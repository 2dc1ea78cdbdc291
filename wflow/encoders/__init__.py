"""Encoders: what a block does to the tokens.

:class:`SoftmaxAttention` heads and :class:`FeedForward` particles are built in; any object with the methods of
:class:`Encoder` serves as well.
"""

from wflow.encoders.attention import SoftmaxAttention
from wflow.encoders.feedforward import ACTIVATIONS, FeedForward
from wflow.encoders.protocol import Encoder, pairing
from wflow.plain import register

__all__ = ["ACTIVATIONS", "ENCODERS", "Encoder", "FeedForward", "SoftmaxAttention", "pairing"]

#: The encoders that run files and trajectories can name.
ENCODERS: dict[str, type] = {"attention": SoftmaxAttention, "feedforward": FeedForward}
register(**ENCODERS)
