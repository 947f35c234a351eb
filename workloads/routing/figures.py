"""Pictures of routing."""

from __future__ import annotations

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_RECALLS = "recall of later layers' experts"
_PANELS = {
    "fixed group (SRP)": {"srp": "measured"},
    "cache that looks ahead (SCH), and the token before": {"sch": "hit rate", "overlap": "overlap"},
    "entropy / log E": {"entropy": "all requests", "entropy_per_prompt": "within a request"},
    _RECALLS: {"recall_at_k": "from ids, k guesses", "recall_at_2k": "from ids, 2k guesses"},
}


def trace_figure(statistics: pd.DataFrame, title: str = "", floor: float | None = None) -> Figure:
    """Returns the statistics of a trace against the layer.

    Args:
        statistics: What `trace_statistics` gives.
        title: What is written above, such as the model's name.
        floor: The SRP of independent uniform routing, to be drawn as well.
    """
    figure = Figure(figsize=(10, 6), layout="constrained")
    panels = {panel: dict(columns) for panel, columns in _PANELS.items()}
    recalls = panels[_RECALLS]
    for column in statistics:
        if str(column).startswith("predicted_recall_"):
            recalls[str(column)] = f"predicted, distance {str(column).rpartition('_')[2]}"
    for axes, (panel, columns) in zip(figure.subplots(2, 2, sharex=True).flat, panels.items(), strict=True):
        for column, label in columns.items():
            if statistics[column].notna().any():
                axes.plot(statistics.index, statistics[column], marker="o", markersize=3, label=label)
        axes.set_title(panel, fontsize="medium", loc="left")
        _tidy(axes)
    first = figure.axes[0]
    if floor is not None:
        first.axhline(floor, color="0.4", linestyle="--", linewidth=1, label="independent, uniform")
    for axes in figure.axes:
        axes.set_ylim(0, 1.02)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize="small")
    for axes in figure.axes[2:]:
        axes.set_xlabel("layer")
    figure.suptitle(title)
    return figure


def _tidy(axes: Axes) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
