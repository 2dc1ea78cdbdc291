"""Trajectories in HDF5: written so that a kill loses nothing, read so that nothing half-written is believed.

The layout is described in docs/format.md. What a run needs to go on stands in a second file, ``PATH.resume``, the
checkpoint, that is only ever replaced as a whole. From the ground up:

``storage``      changes of structure that happen whole or not at all; what HDF5 sees of a file
``lock``         one writer at a time
``access``       what a reader may touch in a file that may be damaged or hostile
``layout``       what stands where
``reader``       :func:`load`, and frames one by one
``checkpoint``   the state from which a run goes on
``recorder``     what a run asks of whoever keeps its results
``writer``       :class:`TrajectoryFile`
"""

from __future__ import annotations

__all__ = ["FORMAT", "TrajectoryFile", "load", "load_checkpoint"]

from wflow.trajectory.checkpoint import load_checkpoint
from wflow.trajectory.layout import FORMAT
from wflow.trajectory.reader import load
from wflow.trajectory.writer import TrajectoryFile
