"""Task duplication: schedules in which a task may run on several devices."""

from __future__ import annotations

from ...envs import Simulator
from ...envs.core.simulator import Arrays
from ...envs.task_graph.duplication import Copies, duplicate
from ...envs.task_graph.instance import Instance, Instances
from ...envs.task_graph.schedule import DuplicatedSchedule
from ...errors import HetgymError
from ...workloads import TaskGraph
from ..policy import Actions


class Duplication:
    """HEFT that runs a task's predecessors once more on its device where that helps; makes schedules, plays nothing.

    The idea of duplication scheduling (DSH: Kruatrachue, Lewis 1988, doi:10.1109/52.1991) on HEFT's order and unlike
    devices (Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206). The ready task of highest upward rank goes where it
    finishes first. On each device, the predecessor whose data arrive last, the one of lowest index if several do, is
    copied into the first gap that holds it, if the task can then start earlier; then the one whose data arrive last
    by then, and so on, until a copy does not help, the device has or cannot run the predecessor, or the task's job
    arrives no earlier. Data come from the copy from which they arrive first. A copy's own inputs are not copied for
    it; what has been placed stays, needed or not.
    """

    name = "duplication"
    clairvoyant = False

    def schedule(self, problem: Instance | TaskGraph) -> DuplicatedSchedule:
        """Returns the finished schedule of one instance.

        Args:
            problem: An instance, or a task graph, which then runs on one device of each of its kinds with its
                volumes as transfer times.
        """
        instance = Instance.of(problem)
        copies = Copies.empty(*instance.duration.shape)
        count = duplicate(Instances.holding(instance), 0, copies)
        runs = copies.runs[:count]
        return DuplicatedSchedule(
            task=runs["task"].copy(),
            device=runs["device"].copy(),
            start=runs["start"].copy(),
            finish=runs["finish"].copy(),
        )

    def reset(self, simulator: Simulator) -> None:
        """Refuses to play.

        Raises:
            HetgymError: Always: an environment runs each task once.
        """
        raise HetgymError(
            f"policy {self.name!r} may run a task several times, an environment runs each task once: use its schedule()"
        )

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Is never asked, as `reset` refuses."""
        raise NotImplementedError
