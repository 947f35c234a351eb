"""A picture of a cache's timeline: what the device, the CPU and the link do, and what is resident."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from matplotlib.ticker import EngFormatter, MaxNLocator

from ..core.simulator import bars_table
from .instance import Instance
from .timeline import WHATS

COLOURS = {
    "attention": "#c9cdd2",
    "hit": "#2f7d4f",
    "late": "#d9a514",
    "loaded": "#c0452c",
    "on the CPU": "#7b5ea7",
    "demand": "#c0452c",
    "prefetch": "#3b73b9",
}
"""What an interval is, and its colour."""

LANES = ("link", "device", "cpu")
LANE_NAMES = {lane: lane if lane != "cpu" else "CPU" for lane in LANES}
EVENTS_SHOWN = 60
"""The picture shows the last of them; more would be too narrow to see."""


def timeline(table: pd.DataFrame, instance: Instance) -> Figure:
    """Returns a picture of the last events of an episode: lanes above, the current layer's residents below.

    Args:
        table: The timeline, in the columns of `timeline`.
        instance: What the episode plays.
    """
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    lanes, pools = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    last = int(table["event"].max()) if len(table) else 0
    shown = table[table["event"] > last - EVENTS_SHOWN]
    used = _draw_lanes(lanes, shown)
    _draw_residents(pools, table, shown)
    lanes.set_title(f"{instance.trace.model}: events {max(last - EVENTS_SHOWN + 1, 0)} to {last}", loc="left")
    handles = [Patch(color=COLOURS[name], label=name) for name in COLOURS if name in used]
    if handles:
        lanes.legend(handles=handles, loc="lower left", bbox_to_anchor=(0.0, -0.02), ncols=len(handles), frameon=False)
    pools.set_xlabel("time")
    pools.xaxis.set_major_formatter(EngFormatter(unit="s"))
    return figure


def bars(table: pd.DataFrame) -> pd.DataFrame:
    """Returns a timeline in the form of `Simulator.bars`: what the link, the device and the CPU do.

    Args:
        table: The timeline, in the columns of `timeline`.
    """
    table = table[table["lane"].isin(LANES)]
    groups = [_named(lane, what) for lane, what in zip(table["lane"], table["what"], strict=True)]
    labels = [
        f"event {event}: {group}" + (f", expert {item}" if item >= 0 else "")
        for event, group, item in zip(table["event"], groups, table["item"], strict=True)
    ]
    lanes = [name for lane, name in LANE_NAMES.items() if (table["lane"] == lane).any()]
    return bars_table(table["lane"].map(LANE_NAMES), lanes, table["begin"], table["end"], labels, groups)


def _draw_lanes(axes: Axes, shown: pd.DataFrame) -> set[str]:
    """Draws a bar for each interval, and returns what they are."""
    used: set[str] = set()
    present = [lane for lane in LANES if (shown["lane"] == lane).any()]
    for row, lane in enumerate(present):
        for what in WHATS[lane]:
            bars = shown[(shown["lane"] == lane) & (shown["what"] == what) & (shown["end"] > shown["begin"])]
            if len(bars):
                name = _named(lane, what)
                used.add(name)
                boxes = [
                    Rectangle((begin, -row - 0.35), end - begin, 0.7)
                    for begin, end in zip(bars["begin"], bars["end"], strict=True)
                ]
                axes.add_collection(PatchCollection(boxes, facecolor=COLOURS[name], edgecolor="white", linewidth=0.3))
    axes.set_yticks([-row for row in range(len(present))], [LANE_NAMES[lane] for lane in present])
    axes.set_ylim(-len(present) - 0.3, 0.6)
    axes.autoscale(axis="x")
    axes.margins(x=0.01)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(left=False)
    return used


def _named(lane: str, what: str) -> str:
    """Returns what an interval is called in the legend."""
    if lane == "link":
        return "demand" if what.startswith("demand") else "prefetch"
    if lane == "cpu":
        return "on the CPU"
    names = {"dense": "attention", "hit": "hit", "late": "late", "load": "loaded"}
    return names[what.removesuffix("-low")]


def _draw_residents(axes: Axes, table: pd.DataFrame, shown: pd.DataFrame) -> None:
    """Draws how many bytes of the pools are taken, from the places that items get and lose."""
    times, taken = [0.0], [0.0]
    for time, size in _changes(table):
        times.append(time)
        taken.append(taken[-1] + size)
    axes.step(times, np.array(taken), where="post", color="#333333", linewidth=1.0)
    is_whole = not len(table) or table["event"].iloc[0] == 0
    axes.set_ylabel("bytes held" if is_whole else "bytes held,\nchange")
    axes.yaxis.set_major_formatter(EngFormatter(unit="B"))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    if is_whole:
        axes.set_ylim(bottom=0)
    axes.spines[["top", "right"]].set_visible(False)
    if len(shown):
        axes.set_xlim(float(shown["begin"].min()), float(shown["end"].max()))


def _changes(table: pd.DataFrame) -> Iterator[tuple[float, float]]:
    """Yields when bytes are taken or given back, and how many, in the order of decisions."""
    for lane, what, begin, size, buffer in zip(
        table["lane"], table["what"], table["begin"], table["bytes"], table["buffer"], strict=True
    ):
        if (lane == "link" and what.startswith("demand") and buffer < 0) or lane == "queue":
            yield begin, size
        elif lane == "evict":
            yield begin, -size
