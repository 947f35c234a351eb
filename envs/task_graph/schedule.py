"""A schedule: which task ran where, and when."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

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


@dataclass(frozen=True, eq=False)
class DuplicatedSchedule:
    """Decisions for one instance in which a task may run on several devices: R runs, one or more of each task.

    Attributes:
        task: int64 (R,), in the order of the decisions.
        device: int64 (R,).
        start: float64 (R,), seconds.
        finish: float64 (R,), seconds.
    """

    task: IntArray
    device: IntArray
    start: FloatArray
    finish: FloatArray

    @property
    def makespan(self) -> float:
        """When every task has ended at least once, seconds."""
        first = np.full(self.task.max(initial=-1) + 1, np.inf)
        np.minimum.at(first, self.task, self.finish)
        return float(first.max(initial=0.0))

    def table(self, instance: Instance) -> pd.DataFrame:
        """Returns one row a run, in the order of the decisions, with the columns of `Schedule.table`."""
        import pandas as pd

        names, devices = instance.graph.task_names, instance.platform.devices
        return pd.DataFrame(
            {
                "task": self.task,
                "name": [names[task] for task in self.task],
                "device": self.device,
                "device_name": [devices[device].name for device in self.device],
                "start": self.start,
                "finish": self.finish,
            }
        )
