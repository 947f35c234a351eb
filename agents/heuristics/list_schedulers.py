"""Static list schedulers for task graphs: the whole schedule is made before anything runs."""

from __future__ import annotations

from collections.abc import Callable

from ...compilation import kernel
from ...envs.task_graph import balancing, clustering, list_scheduling
from ...envs.task_graph.instance import Instance, Instances, problem_at
from ...envs.task_graph.list_scheduling import Draft, derive
from ...envs.task_graph.schedule import Schedule
from ...envs.task_graph.simulator import TaskGraphSimulator
from ...workloads import TaskGraph
from ...workloads.task_graph import IntArray
from .replay import Planner

Scheduler = Callable[[Instances, int, Draft], None]


class StaticScheduler(Planner):
    """A compiled list scheduler."""

    def __init__(self, name: str, scheduler: Scheduler, insertion: bool) -> None:
        """Wraps a compiled scheduler.

        Args:
            name: What it is called.
            scheduler: Writes the plan of one row of instances into a draft.
            insertion: As the attribute.
        """
        self.name = name
        self.insertion = insertion
        self._scheduler = scheduler

    def schedule(self, problem: Instance | TaskGraph) -> Schedule:
        """Returns the finished schedule of one instance (`Planner.schedule`)."""
        instance = Instance.of(problem)
        return self._schedule(Instances.holding(instance), 0, instance.graph.num_tasks)

    def plan(self, simulator: TaskGraphSimulator, row: int) -> Schedule:
        """Returns the schedule of the instance that an episode plays."""
        slot = simulator.state.status["slot"][row]
        return self._schedule(simulator.instances, slot, simulator.instances.graph.num_tasks[slot])

    def _schedule(self, instances: Instances, n: int, num_tasks: int) -> Schedule:
        draft = Draft.empty(num_tasks, instances.links.shape[1])
        self._scheduler(instances, n, draft)
        return schedule_of(draft)


def schedule_of(draft: Draft) -> Schedule:
    """Returns a finished plan without its draft."""
    tasks = draft.plan.tasks
    return Schedule(
        device=tasks["device"].copy(),
        start=tasks["start"].copy(),
        finish=tasks["finish"].copy(),
        sequence=tasks["sequence"].copy(),
    )


def decide_again(instances: Instances, sequence: IntArray, device: IntArray, insertion: bool) -> Schedule:
    """Returns the schedule that given decisions make of the first instance.

    Args:
        instances: What is scheduled.
        sequence: int64 (T,), the tasks, each after its predecessors.
        device: int64 (T,), the device of each task.
        insertion: Whether tasks may go into gaps.
    """
    draft = Draft.empty(sequence.size, instances.links.shape[1])
    _decide_again(instances, draft, sequence, device, insertion)
    return schedule_of(draft)


@kernel
def _decide_again(instances: Instances, draft: Draft, sequence: IntArray, devices: IntArray, insertion: bool) -> None:
    derive(instances, 0, draft)
    list_scheduling.place_in_order(problem_at(instances, 0), draft, sequence, devices, 0, 0, insertion)


@kernel
def _heft(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.heft(problem_at(instances, n), draft)


@kernel
def _cpop(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.cpop(problem_at(instances, n), draft)


@kernel
def _peft(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.peft(problem_at(instances, n), draft)


@kernel
def _ipeft(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.ipeft(problem_at(instances, n), draft)


@kernel
def _lookahead(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.lookahead(problem_at(instances, n), draft)


@kernel
def _dls(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.dls(problem_at(instances, n), draft)


@kernel
def _etf(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.etf(problem_at(instances, n), draft)


@kernel
def _min_min(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.min_min(problem_at(instances, n), draft)


@kernel
def _max_min(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.max_min(problem_at(instances, n), draft)


@kernel
def _sufferage(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.sufferage(problem_at(instances, n), draft)


@kernel
def _mct(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.mct(problem_at(instances, n), draft)


@kernel
def _met(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.met(problem_at(instances, n), draft)


@kernel
def _olb(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.olb(problem_at(instances, n), draft)


@kernel
def _hbmct(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    balancing.hbmct(problem_at(instances, n), draft)


@kernel
def _linear_clustering(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    clustering.linear_clustering(problem_at(instances, n), draft)


@kernel
def _fastest_node(instances: Instances, n: int, draft: Draft) -> None:
    derive(instances, n, draft)
    list_scheduling.fastest_node(problem_at(instances, n), draft)


def heft() -> StaticScheduler:
    """Returns HEFT: by upward rank, inserted where a task finishes first.

    Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206.
    """
    return StaticScheduler("heft", _heft, insertion=True)


def cpop() -> StaticScheduler:
    """Returns CPOP: by upward plus downward rank, inserted; a critical path on one device.

    Topcuoglu, Hariri, Wu 2002, doi:10.1109/71.993206.
    """
    return StaticScheduler("cpop", _cpop, insertion=True)


def peft() -> StaticScheduler:
    """Returns PEFT: by mean optimistic cost, inserted where finish plus optimistic cost is least.

    Arabnejad, Barbosa 2014, doi:10.1109/TPDS.2013.57.
    """
    return StaticScheduler("peft", _peft, insertion=True)


def ipeft() -> StaticScheduler:
    """Returns IPEFT: by mean pessimistic cost, inserted where finish plus critical-node cost is least.

    Zhou, Qi, Wang, Zheng, Lin 2017, doi:10.1002/cpe.3944. The pessimistic cost table (PCT) of a task and a device is
    the largest sum, over its successors and the devices that can run them, of mean transfer (0 within a device),
    duration and the successor's own entry. The ready task goes next whose mean entry plus mean duration is largest.
    The critical-node cost table (CNCT) is PEFT's optimistic one over the critical successors of a task, over all
    where none is critical; critical are the tasks on a longest path of mean durations and transfers. A task that
    is not critical but has a critical successor goes where it finishes first, others where finish plus CNCT is least.
    """
    return StaticScheduler("ipeft", _ipeft, insertion=True)


def lookahead() -> StaticScheduler:
    """Returns lookahead HEFT: by upward rank, inserted where the task's children finish first.

    Bittencourt, Sakellariou, Madeira 2010, doi:10.1109/PDP.2010.56.
    """
    return StaticScheduler("lookahead", _lookahead, insertion=True)


def dls() -> StaticScheduler:
    """Returns DLS: the ready task and device of highest dynamic level, appended.

    Sih, Lee 1993, doi:10.1109/71.207593.
    """
    return StaticScheduler("dls", _dls, insertion=False)


def etf() -> StaticScheduler:
    """Returns ETF: the ready task that can start first, appended; ties by static level.

    Hwang, Chow, Anger, Lee 1989, doi:10.1137/0218016.
    """
    return StaticScheduler("etf", _etf, insertion=False)


def min_min() -> StaticScheduler:
    """Returns Min-Min: of all ready tasks the one that can finish first, appended.

    Maheswaran et al. 1999, doi:10.1006/jpdc.1999.1581.
    """
    return StaticScheduler("min-min", _min_min, insertion=False)


def max_min() -> StaticScheduler:
    """Returns Max-Min: of all ready tasks the one that finishes last on its best device, appended.

    Maheswaran et al. 1999, doi:10.1006/jpdc.1999.1581.
    """
    return StaticScheduler("max-min", _max_min, insertion=False)


def sufferage() -> StaticScheduler:
    """Returns Sufferage: of all ready tasks the one that loses most on its second-best device, appended.

    Maheswaran et al. 1999, doi:10.1006/jpdc.1999.1581.
    """
    return StaticScheduler("sufferage", _sufferage, insertion=False)


def mct() -> StaticScheduler:
    """Returns MCT: in breadth-first order, appended where a task finishes first.

    Maheswaran et al. 1999, doi:10.1006/jpdc.1999.1581.
    """
    return StaticScheduler("mct", _mct, insertion=False)


def met() -> StaticScheduler:
    """Returns MET: in breadth-first order, appended to the device that runs a task fastest.

    Maheswaran et al. 1999, doi:10.1006/jpdc.1999.1581.
    """
    return StaticScheduler("met", _met, insertion=False)


def olb() -> StaticScheduler:
    """Returns OLB: in breadth-first order, appended to the device that is free first.

    Maheswaran et al. 1999, doi:10.1006/jpdc.1999.1581.
    """
    return StaticScheduler("olb", _olb, insertion=False)


def hbmct() -> StaticScheduler:
    """Returns HBMCT: groups of independent tasks by upward rank, each group balanced over the devices, appended.

    Sakellariou, Zhao 2004, doi:10.1109/IPDPS.2004.1303065. In the order of upward ranks a task with an input from the
    group at hand begins a new group. Groups are placed one after another by BMCT: each task is given to its
    fastest device; then, as long as possible, the first task that can go leaves the device that ends last for the
    one that would end first with it, if both then end earlier than the one that ends last did. Tasks are
    tried in the order of their mean completion times, with nothing but earlier groups on the devices. Each device
    runs what it has of a group behind earlier groups, in the order in which the inputs are there.
    """
    return StaticScheduler("hbmct", _hbmct, insertion=False)


def linear_clustering() -> StaticScheduler:
    """Returns linear clustering: the longest path, then that of what is left, and so on, each on one device.

    Clusters: Kim, Browne 1988, with path lengths of mean durations and mean transfers as in Gerasoulis, Yang 1992,
    doi:10.1016/0743-7315(92)90012-C. Devices are unlike and fewer than clusters, so these are given out as Sarkar
    (Partitioning and Scheduling Parallel Programs for Multiprocessors, MIT Press 1989) does: by upward rank, and
    whole, when the first task of a cluster comes up. It goes where the cluster would end first if its tasks ran from
    the start of the first one on without a break. Tasks are inserted. The tasks of a cluster that no device
    can run whole are placed one by one, as HEFT does.
    """
    return StaticScheduler("linear-clustering", _linear_clustering, insertion=True)


def fastest_node() -> StaticScheduler:
    """Returns all tasks on the one device that runs them in least time, in breadth-first order.

    A bar that cleverer schedulers can miss: Coleman, Krishnamachari 2025, doi:10.1109/IPDPS64566.2025.00014.
    """
    return StaticScheduler("fastest-node", _fastest_node, insertion=False)
