"""The studies, by the name that the command line gives them and the module that they are."""

from __future__ import annotations

__all__ = ["STUDIES"]

STUDIES: dict[str, str] = {
    "model": "model",
    "exact": "exact",
    "schemes": "schemes",
}
