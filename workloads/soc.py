"""The jobs of a wireless and radar SoC."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from pydantic import field_validator

from ..errors import read_yaml, unknown_name
from .generators import OneGraph
from .task_graph import TaskGraph, edges_from

_PUBLISHED = Path(__file__).parent / "soc-ds3.yaml"
_KINDS = ("a7", "a15", "mm", "fft", "vit")


@cache
def soc_jobs() -> Mapping[str, TaskGraph]:
    """Returns the six jobs of the DS3 simulator, by name, for the device kinds of the platform ``soc-ds3``.

    They are ``wifi-transmitter``, ``wifi-receiver``, ``radar``, ``single-carrier-transmitter``,
    ``single-carrier-receiver`` and ``interference-mitigation``, of 7 to 34 tasks, with durations in seconds that were
    measured on boards, and volumes that count as bytes. Cores run every task; the engines run few.

    Source: Arda et al. (DS3) 2020, arXiv:2003.09016, configuration SoC.MULTIPLE_BAL.
    """
    jobs = read_yaml(_PUBLISHED, "file of jobs")["jobs"]
    return MappingProxyType({name: _job(name, job) for name, job in jobs.items()})


def _job(name: str, job: dict[str, Any]) -> TaskGraph:
    number = {task: i for i, task in enumerate(job["tasks"])}
    edges, edge_bytes = edges_from([
        (number[sender], number[receiver], size)
        for sender, receivers in job["edges"].items()
        for receiver, size in receivers.items()
    ])  # fmt: skip
    return TaskGraph(
        name=name,
        kinds=_KINDS,
        duration=np.array([[times.get(kind, np.inf) for kind in _KINDS] for times in job["tasks"].values()]),
        edges=edges,
        edge_bytes=edge_bytes,
        task_names=tuple(number),
    )


class SocJob(OneGraph):
    """One job of `soc_jobs`.

    Attributes:
        job: Its name.
    """

    kind: Literal["soc-job"] = "soc-job"
    job: str

    @field_validator("job")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in soc_jobs():
            raise unknown_name("job", name, sorted(soc_jobs()))
        return name

    def load(self) -> TaskGraph:
        """Returns the job."""
        return soc_jobs()[self.job]
