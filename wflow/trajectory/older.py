"""Settings in trajectories of format version 1."""

from __future__ import annotations

__all__ = ["settings_of_version_1"]

import json
from typing import Any

from wflow.trajectory.access import values_of


def settings_of_version_1(problem: Any, config: dict[str, Any]) -> dict[str, Any]:
    """What :func:`wflow.trajectory.reader.settings_of` gives for later versions."""

    def dataset(group: Any) -> dict[str, Any]:
        arrays = {name: values_of(group, name) for name in ("tokens", "labels", "readout")}
        return {"kind": "Dataset", "name": str(group.attrs["name"]), **arrays}

    def user(name: str) -> dict[str, Any]:
        return {"kind": "user", "name": name}

    def encoder(entry: dict[str, Any]) -> dict[str, Any]:
        kind = {"SoftmaxAttention": "attention", "FeedForward": "feedforward"}.get(entry["kind"])
        return entry | {"kind": kind} if kind else user(entry["class"])

    energy = user(str(problem.attrs["energy"]))
    if "objective" in problem.attrs:
        arguments = json.loads(problem.attrs["objective"])
        encoders = {name: encoder(arguments[name]) for name in ("attention", "feedforward") if arguments[name]}
        energy = {"kind": "TransformerObjective", "dataset": dataset(problem["dataset"]), **arguments, **encoders}
    observe = {}
    for name, entry in problem["observe"].items():
        arguments = {"objective": {"kind": "reference", "to": "energy"}}
        arguments["dataset"] = dataset(entry) if "tokens" in entry else None
        observe[name] = {"kind": str(entry.attrs["kind"]), **arguments} if entry.attrs["kind"] else user(name)
    scheme, options, controller = config["scheme"], config.pop("scheme_options"), config["controller"]
    config["scheme"] = user(scheme) if options is None else {"kind": scheme, **options}
    if controller["kind"] not in ("Adaptive", "Fixed"):
        config["controller"] = user(controller["kind"])
    if config["save"]:
        config["save"]["kind"] = "SaveAt"
    return {"energy": energy, "observe": observe, **config}
