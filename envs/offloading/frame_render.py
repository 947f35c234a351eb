"""A picture of frames: who offloads in each, and what comes of it."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import EngFormatter, MaxNLocator

from ..core.simulator import bars_table

LOCAL, OFFLOADED, DRAWN = "#c9cdd2", "#3b73b9", "#333333"
FRAMES_SHOWN = 200
"""The choices of more would be too narrow to see: the picture shows the last of them."""


def frames_figure(table: pd.DataFrame, system: str, duration: float, energy_budget: float | None) -> Figure:
    """Returns a picture of the last frames of an episode: choices above, and below it rates, queues and energy.

    Args:
        table: In the columns of `FrameSimulator.episode`.
        system: ``droo`` or ``lydroo``.
        duration: Of a frame, seconds.
        energy_budget: Of a user in a frame, J (lydroo).
    """
    last = int(table["frame"].max()) if len(table) else 0
    shown = table[table["frame"] > last - FRAMES_SHOWN]
    by_frame = shown.groupby("frame")
    lines = {"computed": by_frame["bits"].sum() / duration}
    units = {"computed": "bit/s"}
    if system == "lydroo":
        lines |= {"queue per user": by_frame["queue"].mean(), "energy per user": by_frame["energy"].mean()}
        units |= {"queue per user": "bit", "energy per user": "J"}
    figure = Figure(figsize=(11, 2.6 + 1.5 * len(lines)), layout="constrained")
    choices, *below = figure.subplots(1 + len(lines), 1, sharex=True, height_ratios=(2, *(1 for _ in lines)))
    _draw_choices(choices, shown)
    for axes, (name, line) in zip(below, lines.items(), strict=True):
        _draw_line(axes, name, units[name], line)
    if energy_budget is not None:
        below[-1].axhline(energy_budget, color="#c0452c", linewidth=1.0, linestyle="--", label="budget")
        below[-1].legend(loc="lower right", bbox_to_anchor=(1.0, 0.9), frameon=False)
    below[-1].set_xlabel("frame")
    below[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    figure.align_ylabels()
    title = f"frames {shown['frame'].min()} to {last}" if len(shown) else "no frame is over"
    choices.set_title(title, loc="left")
    return figure


def bars(table: pd.DataFrame, duration: float, num_users: int) -> pd.DataFrame:
    """Returns an episode in the form of `Simulator.bars`: a lane for each user, a bar for each frame.

    Args:
        table: In the columns of `FrameSimulator.episode`.
        duration: Of a frame, seconds.
        num_users: How many there are.
    """
    groups = table["offloads"].map({True: "offloaded", False: "on the device"})
    labels = [f"frame {frame}: {bits:.3g} bits" for frame, bits in zip(table["frame"], table["bits"], strict=True)]
    lanes = [f"user {user}" for user in range(num_users)]
    begin = table["frame"] * duration
    return bars_table([lanes[user] for user in table["user"]], lanes, begin, begin + duration, labels, groups)


def _draw_choices(axes: Axes, shown: pd.DataFrame) -> None:
    choices = shown.pivot_table(index="user", columns="frame", values="offloads").to_numpy(np.float64)
    if choices.size:
        first, last = int(shown["frame"].min()), int(shown["frame"].max())
        extent = (first - 0.5, last + 0.5, len(choices) - 0.5, -0.5)
        colours = ListedColormap([LOCAL, OFFLOADED])
        axes.imshow(choices, colours, aspect="auto", interpolation="nearest", vmin=0, vmax=1, extent=extent)
        axes.hlines(np.arange(1, len(choices)) - 0.5, *extent[:2], color="white", linewidth=0.5)
    axes.set_ylabel("user")
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
    axes.tick_params(bottom=False)
    handles = [Patch(color=LOCAL, label="local"), Patch(color=OFFLOADED, label="offloaded")]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=2, frameon=False)


def _draw_line(axes: Axes, name: str, unit: str, line: pd.Series[float]) -> None:
    if len(line):
        edges = np.append(line.index, line.index[-1] + 1) - 0.5
        axes.stairs(line.to_numpy(), edges, baseline=None, color=DRAWN, linewidth=1.0)
    axes.set_ylabel(name)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(EngFormatter(unit=unit))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.spines[["top", "right"]].set_visible(False)
