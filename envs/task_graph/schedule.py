"""A schedule: which task ran where, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...workloads.task_graph import FloatArray, IntArray
from .instance import Instance

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class Schedule:
    """The decisions for one instance.

    Attributes:
        device: int64 (T,), the device of each task, -1 where undecided.
        start: float64 (T,), seconds.
        finish: float64 (T,), seconds.
        sequence: int64 (decided tasks,), the tasks in the order in which they were decided.
        decided: float64 (T,), seconds, when each task was decided; None if all were before anything ran.
        step: int64 (T,), the speed step of each task; None if all run at the highest.
    """

    device: IntArray
    start: FloatArray
    finish: FloatArray
    sequence: IntArray
    decided: FloatArray | None = None
    step: IntArray | None = None

    @property
    def makespan(self) -> float:
        """When the last task ends, seconds."""
        return float(self.finish[self.sequence].max(initial=0.0))

    def table(self, instance: Instance) -> pd.DataFrame:
        """Returns one row a decided task, in order of decision.

        Columns: ``task`` (index), ``name``, ``device`` (index), ``device_name``, ``start`` and ``finish`` (seconds); in
        Dispatch ``decided`` (seconds) as well, and ``step`` where devices have several speed steps.
        """
        import pandas as pd

        names, devices = instance.graph.task_names, instance.platform.devices
        chosen = self.device[self.sequence]
        table = pd.DataFrame(
            {
                "task": self.sequence,
                "name": [names[task] for task in self.sequence],
                "device": chosen,
                "device_name": [devices[device].name for device in chosen],
                "start": self.start[self.sequence],
                "finish": self.finish[self.sequence],
            }
        )
        if self.decided is not None:
            table["decided"] = self.decided[self.sequence]
        if self.step is not None:
            table["step"] = self.step[self.sequence]
        return table
