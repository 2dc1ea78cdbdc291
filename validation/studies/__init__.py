"""The studies, by the name that the command line gives them and the module that they are."""

from __future__ import annotations

__all__ = ["STUDIES"]

STUDIES = {
    "model": "model",
    "exact": "exact",
    "limit": "limit",
    "width-depth": "width_depth",
    "weight-decay": "weight_decay",
    "homogeneity": "homogeneity",
    "rates": "rates",
    "capacity": "capacity",
    "schemes": "schemes",
    "attention": "attention",
    "losses": "losses",
}
