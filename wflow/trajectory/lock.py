"""One writer of a trajectory at a time: the lock of the file ``PATH.lock``."""

from __future__ import annotations

__all__ = ["is_locked", "one_writer"]

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path

from wflow.checks import check_regular
from wflow.errors import InputError

try:
    import fcntl
except ImportError:  # where there are no such locks
    fcntl = None  # type: ignore[assignment]

#: So often, and after so many seconds, a writer tries again: a reader that looks whether there is one is no writer.
TRIES, PAUSE = 20, 0.005


def lock_path(path: Path) -> Path:
    """The file whose lock a writer holds."""
    return path.with_name(f"{path.name}.lock")


@contextlib.contextmanager
def one_writer(path: Path | None) -> Iterator[None]:
    """Hold the lock of a trajectory, which nobody else can hold; of no path, nothing.

    The system releases the lock of a process that is killed, and what is left of its file does not matter.

    Raises
    ------
    InputError
        Where another run holds it.
    """
    if path is None or fcntl is None or not path.parent.is_dir():  # whoever writes there says so
        yield
        return
    place = lock_path(path)
    check_regular(place, "and no lock")
    for _ in range(TRIES + 1):
        try:
            handle = open(place, "ab")  # noqa: SIM115  (held to the end)
        except OSError as error:
            raise InputError(f"cannot write {path}: {error}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(handle.fileno()), os.stat(place)):
                break
        except BlockingIOError:
            time.sleep(PAUSE)
        except FileNotFoundError:  # another run has removed it as it ended
            pass
        except OSError:  # the file system knows no locks
            break
        handle.close()
    else:
        raise InputError(f"another run is writing {path}: wait until it ends, or choose another path")
    try:
        yield
    finally:
        if os.fstat(handle.fileno()).st_size == 0:  # else it is somebody's file
            place.unlink(missing_ok=True)
        handle.close()


def is_locked(path: Path) -> bool | None:
    """Whether a run is writing a trajectory; None where the system cannot tell."""
    if fcntl is None:
        return None
    if not (place := lock_path(path)).is_file():  # to open a pipe can wait for ever
        return False
    try:
        with open(place, "rb") as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    except OSError:
        return None
    return False
