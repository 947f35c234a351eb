"""Gantt charts: colours by group, a legend, and lines for transfers that take time."""

from __future__ import annotations

from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from hetgym.agents import make_policy
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.render import gantt
from hetgym.workloads import TaskGraph, pipeline


def chart(graph: TaskGraph, groups: list[str] | None = None) -> Figure:
    instance = Instance(graph, graph.default_platform())
    return gantt(instance, make_policy("heft").schedule(instance), groups=groups)


def lines(figure: Figure) -> int:
    (collection,) = [child for child in figure.axes[0].get_children() if isinstance(child, LineCollection)]
    return len(collection.get_segments())


def test_tasks_of_a_group_have_one_colour_and_a_line_in_the_legend() -> None:
    graph = pipeline("gpipe", 2, 3, replicas=2)
    groups = [name.split()[0] for name in graph.task_names]
    figure = chart(graph, groups)
    assert set(groups) == {"F", "B", "R"}
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["F", "B"]  # R takes no time
    assert len({patch.get_facecolor() for patch in figure.axes[0].patches}) == 3
    assert not chart(graph).legends


def test_transfers_that_take_time_have_a_line() -> None:
    assert lines(chart(pipeline("free", 2, 3))) == 0
    assert lines(chart(pipeline("free", 2, 3, activation_bytes=1.0))) == 2 * 3
