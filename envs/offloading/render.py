"""A picture of an episode of offloading: what became of each request, and how many were at each server."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator

from ..core.simulator import bars_table
from .instance import Instance

STAGES = (
    ("waits for a decision", "arrival", "decided", "#c9cdd2"),
    ("on the device", "decided", "ready", "#2f7d4f"),
    ("waits for the radio", "ready", "begin_send", "#e5d9b6"),
    ("sent", "begin_send", "sent", "#3b73b9"),
    ("on its way", "sent", "reached", "#a9c4e6"),
    ("at the server", "reached", "left", "#c0452c"),
    ("on its way", "left", "down", "#a9c4e6"),
    ("result", "down", "end", "#7b5ea7"),
)
"""What happens to a request: its name, the columns of its begin and end, and its colour."""

IN_TWO_PARTS = "result, or rest of the part on the device"
"""The last stage where some requests are split: the table says when the later of their parts ended, not which it is."""

REQUESTS_SHOWN = 40
"""The picture shows the last of them; more would be too narrow to see."""

MOST_LINES = 12
"""Servers that are drawn; more lines could not be told apart."""

COLOURS = colormaps["tab20"]
"""Of servers: ten strong colours, and between them ten pale ones."""


def timeline(table: pd.DataFrame, instance: Instance) -> Figure:
    """Returns a picture of the last requests that have ended: a bar for each above, the crowd at the servers below.

    Args:
        table: The episode, in the columns of `table`.
        instance: What it plays.
    """
    figure = Figure(figsize=(11, 6.5), layout="constrained")
    bars, crowd = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 1))
    shown = table.tail(REQUESTS_SHOWN)
    handles = _draw_requests(bars, shown, instance)
    _draw_crowd(crowd, table, instance)
    bars.set_title(_title(table, len(shown)), loc="left", fontsize="medium")
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles), frameon=False)
    if len(shown):
        crowd.set_xlim(float(shown["arrival"].min()), max(float(shown["end"].max()), 1e-12))
    crowd.set_xlabel("time")
    crowd.xaxis.set_major_formatter(EngFormatter(unit="s"))
    return figure


def bars(table: pd.DataFrame, instance: Instance) -> pd.DataFrame:
    """Returns an episode in the form of `Simulator.bars`: a lane for each request, a bar for each of its stages.

    Args:
        table: The episode, in the columns of `table`.
        instance: What it plays.
    """
    lanes = [f"request {request}" for request in table["request"]]
    split = _is_split(table)
    stages = [
        pd.DataFrame(
            {"lane": lanes, "begin": table[first], "end": table[last], "group": _stage_name(name, last, split)}
        )
        for name, first, last, _ in STAGES
    ]
    together = pd.concat(stages, ignore_index=True)
    labels = [
        f"request {request} of user {user}, {_where(target, instance)}"
        for request, user, target in zip(table["request"], table["user"], table["target"], strict=True)
    ] * len(STAGES)
    return bars_table(together["lane"], lanes, together["begin"], together["end"], labels, together["group"])


def _is_split(table: pd.DataFrame) -> bool:
    return bool(table["fraction"].between(0, 1, inclusive="neither").any())


def _stage_name(name: str, last: str, split: bool) -> str:
    return IN_TWO_PARTS if split and last == "end" else name


def _title(table: pd.DataFrame, shown: int) -> str:
    if not len(table):
        return "no request has ended"
    away, missed = (table["target"] > 0).mean(), table["missed"].mean()
    drawn = f", of which the last {shown} are drawn" if shown < len(table) else ""
    delay = EngFormatter(unit="s")(float(f"{table['delay'].mean():.3g}"))
    return f"mean delay {delay}, {away:.0%} offloaded, {missed:.0%} late; {len(table)} requests{drawn}"


def _draw_requests(axes: Axes, shown: pd.DataFrame, instance: Instance) -> list[Artist]:
    """Draws a bar for each stage of each request, and returns what a legend needs."""
    legend: dict[str, Artist] = {}
    places = -np.arange(len(shown))
    split = _is_split(shown)
    for name, first, last, colour in STAGES:
        boxes = [
            Rectangle((left, place - 0.4), right - left, 0.8)
            for left, right, place in zip(shown[first], shown[last], places, strict=True)
            if right > left
        ]
        if boxes:
            label = _stage_name(name, last, split)
            legend[label] = Patch(color=colour, label=label)
            axes.add_collection(PatchCollection(boxes, facecolor=colour, edgecolor="none"))
    late = shown["missed"].to_numpy(dtype=bool)
    if late.any():
        ends = shown["end"].to_numpy()[late]
        (legend["late"],) = axes.plot(ends, places[late], "x", color="black", markersize=4, label="late", clip_on=False)
    labels = [
        f"{request} (user {user}, {_where(target, instance)})"
        for request, user, target in zip(shown["request"], shown["user"], shown["target"], strict=True)
    ]
    axes.set_yticks(places, labels, fontsize=6.5)
    axes.set_ylim(-len(shown) + 0.4 if len(shown) else -1.0, 0.6)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    return list(legend.values())


def _where(target: int, instance: Instance) -> str:
    return "here" if target == 0 else f"server {instance.targets['server'][target - 1]}"


def _draw_crowd(axes: Axes, table: pd.DataFrame, instance: Instance) -> None:
    """Draws how many requests were at each server."""
    away = table[table["target"] > 0]
    servers = instance.targets["server"][away["target"].to_numpy(dtype=int) - 1] if len(away) else np.zeros(0, int)
    for server in range(min(len(instance.servers), MOST_LINES)):
        rows = away[servers == server]
        times = np.concatenate([rows["reached"], rows["left"]])
        order = np.argsort(times, kind="stable")
        changes = np.concatenate([np.ones(len(rows)), -np.ones(len(rows))])[order]
        steps = np.concatenate([[0.0], times[order]]), np.concatenate([[0.0], np.cumsum(changes)])
        colour = COLOURS(2 * server % 20 + server // 10)
        axes.step(*steps, where="post", linewidth=1.0, color=colour, label=f"server {server}")
    axes.set_ylabel("requests there")
    axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), fontsize=7, frameon=False, ncols=6)
