"""Pictures of schedules."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter

from ..core.simulator import bars_table
from .instance import Instance
from .schedule import Schedule

COLOURS = mpl.colormaps["tab10"]

LETTER_WIDTH = 0.009
"""A letter's share of the chart's width; names that are wider than their bar are left out."""


def gantt(
    instance: Instance,
    schedule: Schedule,
    title: str | None = None,
    groups: Sequence[str] | None = None,
    transfers: bool = True,
) -> Figure:
    """Returns a Gantt chart: a row for each device, a bar for each task, a line for each transfer.

    Colours tell groups apart, or else jobs, or else tasks where there is only one job. A line leads from the end of the
    sender, on its device, to when the data have arrived on the receiver's, where that takes time.

    Args:
        instance: The problem.
        schedule: Its decisions, all or the first few.
        title: Above the chart; by default the graph's name and the makespan.
        groups: A word for each task; a legend has those that take time.
        transfers: Whether to draw them; where they share links, a schedule does not say when they happened.
    """
    title = title or f"{instance.graph.name}: makespan {schedule.makespan:.6g} s"
    return gantts(instance, {title: schedule}, groups, transfers)


def gantts(
    instance: Instance,
    schedules: Mapping[str, Schedule],
    groups: Sequence[str] | None = None,
    transfers: bool = True,
) -> Figure:
    """Returns the Gantt charts of several schedules of one instance, one above the other on the same clock.

    The clock begins at 0, or where the schedules do if that is past the middle.

    Args:
        instance: The problem.
        schedules: By the titles of their charts.
        groups: As in `gantt`.
        transfers: As in `gantt`.
    """
    height = 1.2 + 0.55 * instance.platform.num_devices
    figure = Figure(figsize=(10, height * len(schedules)), layout="constrained")
    end = max(schedule.makespan for schedule in schedules.values())
    begin = min(float(schedule.start[schedule.sequence].min(initial=end)) for schedule in schedules.values())
    begin = begin if begin > end / 2 else 0.0
    charts = figure.subplots(len(schedules), sharex=True, squeeze=False)[:, 0]
    number = _colour_numbers(instance, groups)
    for axes, (title, schedule) in zip(charts, schedules.items(), strict=True):
        _draw(axes, instance, schedule, number, end - begin)
        if transfers:
            lines = LineCollection(_transfers(instance, schedule), colors="0.35", linewidths=0.6, alpha=0.6)
            axes.add_collection(lines)
        axes.set_title(title)
    charts[-1].set_xlim(begin, max(end + 0.01 * (end - begin), 1e-12))
    charts[-1].xaxis.set_major_formatter(EngFormatter(unit="s"))
    charts[-1].set_xlabel("time")
    if groups:
        shown = {
            word: number[task]
            for task, word in enumerate(groups)
            if any(schedule.finish[task] > schedule.start[task] for schedule in schedules.values())
        }
        handles = [Patch(color=COLOURS(place % COLOURS.N), label=word) for word, place in shown.items()]
        figure.legend(handles=handles, loc="outside right upper", frameon=False, fontsize=8)
    return figure


def bars(instance: Instance, schedule: Schedule) -> pd.DataFrame:
    """Returns a schedule in the form of `Simulator.bars`: a lane for each device, a bar for each decided task.

    Args:
        instance: The problem.
        schedule: Its decisions, all or the first few.
    """
    table, graph = schedule.table(instance), instance.graph
    groups = table["name"] if graph.num_jobs == 1 else [f"job {graph.job[task]}" for task in table["task"]]
    lanes = [device.name for device in instance.platform.devices]
    return bars_table(table["device_name"], lanes, table["start"], table["finish"], table["name"], groups)


def _draw(axes: Axes, instance: Instance, schedule: Schedule, number: Sequence[int], span: float) -> None:
    """Draws the tasks of a schedule, with a colour for each number, on a clock of so many seconds."""
    devices = instance.platform.devices
    for task in schedule.sequence.tolist():
        device, start = int(schedule.device[task]), float(schedule.start[task])
        width = float(schedule.finish[task]) - start
        colour = COLOURS(number[task] % COLOURS.N)
        axes.barh(device, width, left=start, height=0.7, color=colour, edgecolor="white", linewidth=0.5)
        name = instance.graph.task_names[task]
        if width >= LETTER_WIDTH * len(name) * span:
            axes.text(start + width / 2, device, name, ha="center", va="center", fontsize=7, clip_on=True)
    axes.set_yticks(range(len(devices)), [device.name for device in devices])
    axes.set_ylim(len(devices) - 0.5, -0.5)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _colour_numbers(instance: Instance, groups: Sequence[str] | None) -> Sequence[int]:
    """Returns a number for each task, by its group, its job or itself."""
    if groups:
        places = {word: place for place, word in enumerate(dict.fromkeys(groups))}
        return [places[word] for word in groups]
    if instance.graph.num_jobs > 1:
        return [int(job) for job in instance.graph.job]
    return range(instance.graph.num_tasks)


def _transfers(instance: Instance, schedule: Schedule) -> list[list[tuple[float, float]]]:
    """Returns a line (time, device) -> (time, device) for each transfer between decided tasks that takes time."""
    latency, seconds_per_byte = instance.platform.latency, instance.platform.seconds_per_byte
    lines = []
    for (sender, receiver), size in zip(
        instance.graph.edges.T.tolist(), instance.graph.edge_bytes.tolist(), strict=True
    ):
        source, target = int(schedule.device[sender]), int(schedule.device[receiver])
        if source != target and source >= 0 and target >= 0:
            sent = float(schedule.finish[sender])
            arrived = sent + float(latency[source, target] + size * seconds_per_byte[source, target])
            if arrived > sent:
                lines.append([(sent, float(source)), (arrived, float(target))])
    return lines
