"""The network: a measure applied to prompts through a depth rule, forward and back.

A rule (:mod:`wflow.network.rules`) with the encoders of its blocks makes a :class:`Program`; one of two executors runs
it on prompts, :class:`PlainExecutor` call by call, :class:`CompiledExecutor` in one compiled pass; and :class:`Network`
shares groups of prompts among threads.
"""

from wflow.network.batches import Network
from wflow.network.compiled import CompiledExecutor
from wflow.network.plain import PlainExecutor
from wflow.network.program import Program
from wflow.network.rules import DEPTH_RULES, DepthRule, depth_rule

__all__ = ["DEPTH_RULES", "CompiledExecutor", "DepthRule", "Network", "PlainExecutor", "Program", "depth_rule"]
