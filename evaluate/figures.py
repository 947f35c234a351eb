"""Pictures of results."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..envs import Scenario
from ..errors import HetgymError
from .summary import more_is_better
from .sweep import shown, swept

HIGHEST_RATIO = 1.2
"""Training curves are cut off above."""

CURVE = "curve.csv"
"""The file of a training run's folder that holds its results on held-out instances."""

COLOURS = (
    "#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#17becf", "#e377c2", "#8c564b", "#bcbd22", "#1b2a6b",
    "#6b8e23", "#f2a6a0",
)  # fmt: skip
"""Of policies that do not read the future."""
ORACLE_COLOURS = "#000000", "#777777", "#b0b0b0"
MARKERS = "osD^vP*X<>hdp"
"""Their number shares no factor with that of the colours: 156 pairs."""

PANELS_IN_A_ROW = 4
MOST_PANELS = 48
MOST_TICKS = 9
LOGARITHMIC_FROM = 30.0
"""A metric whose means are positive and spread by this factor is drawn on a logarithmic axis."""


def training_curve(run: Path) -> Figure:
    """Returns a training run's results on held-out instances against decisions trained for.

    Args:
        run: The run's folder.

    Raises:
        HetgymError: If there is no curve.
    """
    path = run / CURVE
    if not path.is_file():
        raise HetgymError(f"{path}: there is no training curve here")
    curve = pd.read_csv(path)
    metric, label = ("return", "return")
    if "makespan_ratio" in curve:
        metric, label = "makespan_ratio", "mean makespan / HEFT's"
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(curve["steps"], curve[metric], marker="o", markersize=3, label="learned, greedy")
    if metric == "makespan_ratio":
        axes.axhline(1.0, color="0.4", linestyle="--", linewidth=1, label="HEFT")
        axes.legend(frameon=False)
        # An untrained network would leave no room for the rest.
        axes.set_ylim(top=min(float(curve[metric].max()), HIGHEST_RATIO) + 0.01)
    axes.set_xlabel("decisions trained for")
    axes.set_ylabel(f"{label}, held-out instances")
    axes.set_title(f"{run.name}: {curve[metric].iloc[-1]:.4g} at the end")
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure


def sweep_figure(
    summary: pd.DataFrame,
    x: str | None = None,
    metrics: Sequence[str] | None = None,
    scenario: Scenario | None = None,
) -> Figure:
    """Returns means over a swept setting, with their intervals: one line a policy.

    There is a panel for each metric and each value of the other swept settings. Policies that read the future are
    dashed, grey, and first in the legend.

    Args:
        summary: What `summarise_sweep` returned.
        x: The setting on the horizontal axis; the first by default.
        metrics: Those that are drawn; all by default.
        scenario: What was played, for the title and the direction of the metrics.

    Raises:
        HetgymError: If there is no such setting or metric, or there would be more than 48 panels.
    """
    settings, known = swept(summary), list(dict.fromkeys(summary["metric"]))
    x = x or settings[0]
    if x not in settings:
        raise HetgymError(f"x: {x!r} was not swept; choose one of {', '.join(settings)}")
    metrics = metrics or known
    for metric in metrics:
        if metric not in known:
            raise HetgymError(f"metric: {metric!r} is not in the summary; choose one of {', '.join(known)}")
    others = [name for name in settings if name != x]
    groups = list(summary.groupby(others, sort=False)) if others else [((), summary)]
    columns = min(len(groups), PANELS_IN_A_ROW)
    rows = -(-len(groups) // columns)
    check_panels(len(metrics) * len(groups))
    figure = Figure(figsize=(1.2 + 3.4 * columns + 2.2, 0.6 + 2.7 * rows * len(metrics)), layout="constrained")
    axes = figure.subplots(rows * len(metrics), columns, sharex=True, squeeze=False)
    for number, metric in enumerate(metrics):
        block = axes[number * rows : (number + 1) * rows]
        for panel, (cell, content) in zip(block.flat, groups, strict=False):
            panel.sharey(block[0, 0])
            _draw_panel(panel, content[content["metric"] == metric], x, _styles(summary))
            panel.set_title(", ".join(f"{name} = {shown(value)}" for name, value in zip(others, cell, strict=True)))
        for unused in block.flat[len(groups) :]:
            unused.set_visible(False)
        _label_block(block, metric, x, len(groups), scenario)
        _scale_metric(block[0, 0], summary.loc[summary["metric"] == metric, "mean"])
    _scale_setting(axes[0, 0], list(dict.fromkeys(summary[x])))
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    if scenario:
        figure.suptitle(scenario.name, x=0.01, ha="left")
    return figure


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure; the suffix says in which format. The file is replaced atomically.

    Raises:
        HetgymError: If the format is not known, or the file cannot be written.
    """
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(partial, dpi=150)
        os.replace(partial, path)
    except ValueError as error:
        raise HetgymError(
            f"{path}: cannot write a figure in the format {path.suffix!r}; use .png, .svg or .pdf"
        ) from error
    except OSError as error:
        raise HetgymError(f"{path}: cannot write this figure: {error.strerror}") from error
