"""What decides, beside a problem and its settings, the last digits of a run: where two agree, so do all bits."""

from __future__ import annotations

__all__ = ["differences", "environment"]

import platform
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from wflow._version import __version__

#: Names of what is recorded, in words.
WORDS = {
    "scipy_blas": "BLAS of scipy",
    "blas": "BLAS",
    "llvm": "LLVM",
    "svml": "SVML",
    "libc": "C library",
    "target": "processor of kernels",
    "features": "instructions of kernels",
    "numpy_features": "instructions of numpy",
}
#: The instructions of x86 that compute with floating-point numbers begin with these; those of others are all recorded.
ARITHMETIC = ("sse", "ssse", "avx", "amx", "fma", "f16c", "xop")


def environment() -> dict[str, Any]:
    """The environment of this process, as plain data for JSON.

    Versions: ``wflow``, ``python`` (without the patch, which no digit depends on), ``numpy``, ``scipy``, ``numba``,
    ``llvm``, and those of the linear algebra that numpy and scipy were built with, ``blas`` and ``scipy_blas``;
    ``svml``, whether numba takes functions of Intel's library. The machine: ``system``, ``libc``, ``machine``,
    ``processor``; ``target``, the processor that kernels are compiled for (NUMBA_CPU_NAME may name another), with the
    ``features`` of it that they use, and ``lanes``, the float64 of a register; ``numpy_features``. Threads are no part
    of it: no digit depends on their number.

    Examples
    --------
    >>> differences(environment(), environment())
    []
    """
    import llvmlite.binding
    import numba
    import scipy
    from numba.core.registry import cpu_target

    from wflow.kernels.simd.lanes import n_lanes

    config: Any = numba.config

    target, features = cpu_target.target_context.codegen().magic_tuple()[1:3]
    on = [name.removeprefix("+") for name in features.split(",") if name.startswith("+")]
    machine, of_numpy = platform.machine(), np.show_config(mode="dicts")
    if machine.lower() in ("x86_64", "amd64"):
        on = [name for name in on if name.startswith(ARITHMETIC)]
    return {
        "wflow": __version__,
        "python": "{}.{}".format(*sys.version_info),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "numba": numba.__version__,
        "llvm": ".".join(map(str, llvmlite.binding.llvm_version_info)),
        "blas": _blas(of_numpy),
        "scipy_blas": _blas(scipy.show_config(mode="dicts")),
        "svml": bool(config.USING_SVML),
        "system": platform.system(),
        "libc": " ".join(platform.libc_ver()).strip(),
        "machine": machine,
        "processor": llvmlite.binding.get_host_cpu_name(),
        "target": target,
        "features": sorted(on),
        "lanes": n_lanes(np.float64),
        "numpy_features": sorted(of_numpy.get("SIMD Extensions", {}).get("found", [])),
    }


def _blas(config: Any) -> str:
    """Name and version, from what ``show_config`` of numpy or scipy tells."""
    found = config.get("Build Dependencies", {}).get("blas", {})
    return " ".join(str(found.get(key, "unknown")) for key in ("name", "version"))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """In what a recorded environment and another one differ, in words; empty where results are equal bit for bit.

    What only one of them has recorded counts as a difference: nothing is known of it.

    Examples
    --------
    >>> differences({"numba": "0.60.0", "lanes": 8}, {"numba": "0.61.2", "lanes": 8})
    ['numba 0.60.0, now 0.61.2']
    >>> differences({"features": ["avx2", "avx512f"]}, {"features": ["avx2", "fma"]})
    ['instructions of kernels: now with fma, without avx512f']
    >>> differences({}, {"llvm": "20.1.8"})
    ['LLVM not recorded, now 20.1.8']
    """
    out = []
    for name in {**old, **new}:
        before, now, word = old.get(name), new.get(name), WORDS.get(name, name)
        if isinstance(before, list) and isinstance(now, list):
            changes = {"with": [x for x in now if x not in before], "without": [x for x in before if x not in now]}
            said = ", ".join(f"{how} {' '.join(map(str, some))}" for how, some in changes.items() if some)
            if said:
                out.append(f"{word}: now {said}")
        elif before != now:
            said_before, said_now = ("not recorded" if x is None else _said(x) for x in (before, now))
            out.append(f"{word} {said_before}, now {said_now}")
    return out


def _said(value: Any) -> str:
    return ("off", "on")[value] if isinstance(value, bool) else f"{value!s:.80}"
