"""Pictures of results."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ..envs import Scenario
from ..errors import HetgymError, replacing
from .fronts import non_dominated
from .multi_objective import ERROR, RETURN, objectives_of
from .statistics import FloatArray
from .summary import more_is_better
from .sweep import shown, swept

if TYPE_CHECKING:  # commands that draw nothing start without matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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

PANELS_IN_A_LINE = 4
MOST_PANELS = 48
MOST_TICKS = 9
MOST_MARKERS = 12
LOGARITHMIC_FROM = 30.0
"""A panel whose means are positive and spread by this factor is drawn on a logarithmic axis."""


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
    from matplotlib.figure import Figure

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
    settings = swept(summary)
    x = _one_of("x", x or settings[0], settings)
    known = list(dict.fromkeys(summary["metric"]))
    drawn = [_one_of("metric", metric, known) for metric in metrics or known]
    others = [name for name in settings if name != x]
    groups = list(summary.groupby(others, sort=False)) if others else [((), summary)]
    check_panels(len(drawn) * len(groups))
    lines = -(-len(groups) // PANELS_IN_A_LINE)
    columns = -(-len(groups) // lines)
    styles = _styles(summary)
    width, height = (5.0, 3.6) if len(drawn) * len(groups) == 1 else (3.4, 2.6)
    size = 2.8 + width * columns, max(0.8 + height * lines * len(drawn), 0.5 + 0.22 * len(styles))
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(lines * len(drawn), columns, sharex=True, squeeze=False)
    for metric, block in zip(drawn, np.split(axes, len(drawn)), strict=True):
        panels = {
            ", ".join(f"{name} = {shown(value)}" for name, value in zip(others, cell, strict=True)): rows[
                rows["metric"] == metric
            ]
            for cell, rows in groups
        }
        _draw_panels(block, panels, x, styles)
        better = f"\n({'more' if more_is_better(metric, scenario) else 'less'} is better)" if scenario else ""
        for panel in block[:, 0]:
            panel.set_ylabel(metric + better)
    _scale_setting(axes[0, 0], list(dict.fromkeys(summary[x])))
    for column in axes.T:
        lowest = [panel for panel in column if panel.get_visible()][-1]
        lowest.set_xlabel(x)
        lowest.tick_params(labelbottom=True)
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    if scenario:
        figure.suptitle(scenario.name, x=0.01, ha="left")
    return figure


def check_panels(panels: int) -> None:
    """Checks that a figure has room for so many panels.

    Raises:
        HetgymError: If it has not.
    """
    if panels > MOST_PANELS:
        raise HetgymError(
            f"plot: at most {MOST_PANELS} panels, one for each metric and value of all settings but the first "
            f"(given: {panels})"
        )


def _draw_panels(
    block: NDArray[Any], panels: dict[str, pd.DataFrame], x: str, styles: dict[str, dict[str, Any]]
) -> None:
    """Draws one metric: a panel for each title, on one vertical axis where each of them would fill half of that."""
    means = [rows["mean"] for rows in panels.values()]
    every = pd.concat(means)
    together = 2 * min(own.max() - own.min() for own in means) >= every.max() - every.min()
    for axes, (title, rows) in zip(block.flat, panels.items(), strict=False):
        if together:
            axes.sharey(block[0, 0])
            axes.tick_params(labelleft=axes in block[:, 0])
        _draw_lines(axes, rows, x, styles)
        axes.set_title(title, loc="left", fontsize="medium")
        scaled = every if together else rows["mean"]
        if 0 < LOGARITHMIC_FROM * scaled.min() < scaled.max():
            axes.set_yscale("log")
    for unused in block.flat[len(panels) :]:
        unused.set_visible(False)


def _one_of(what: str, name: str, known: list[str]) -> str:
    if name not in known:
        raise HetgymError(f"{what}: {name!r} is not in the summary; choose one of {', '.join(known)}")
    return name


def _styles(summary: pd.DataFrame) -> dict[str, dict[str, Any]]:
    """Returns how each policy is drawn, by its name; those that read the future come first."""
    clairvoyant = summary.groupby("policy", sort=False)["clairvoyant"].any()
    oracles = [str(name) for name in clairvoyant.index[clairvoyant]]
    others = [str(name) for name in clairvoyant.index[~clairvoyant]]
    dashed = zip(oracles, cycle(ORACLE_COLOURS), cycle(MARKERS), strict=False)
    solid = zip(others, cycle(COLOURS), cycle(MARKERS), strict=False)
    return {
        name: {"color": colour, "marker": marker, "linestyle": "--", "label": f"{name} (reads the future)"}
        for name, colour, marker in dashed
    } | {name: {"color": colour, "marker": marker, "label": name} for name, colour, marker in solid}


def _draw_lines(axes: Axes, rows: pd.DataFrame, x: str, styles: dict[str, dict[str, Any]]) -> None:
    """Draws the means of policies over a setting, numbers in ascending order and all else at 0, 1, ..."""
    values = list(dict.fromkeys(rows[x]))
    is_number = _are_numbers(values)
    for policy, style in styles.items():
        own = rows[rows["policy"] == policy]
        own = own.sort_values(x) if is_number else own
        place = own[x].to_numpy(dtype=float) if is_number else np.arange(len(own))
        axes.plot(place, own["mean"], markersize=4, linewidth=1.3, markevery=-(-len(own) // MOST_MARKERS), **style)
        axes.fill_between(place, own["mean_low"], own["mean_high"], color=style["color"], alpha=0.12, linewidth=0)
    axes.grid(axis="y", color="0.92", linewidth=0.8)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _scale_setting(axes: Axes, values: list[Any]) -> None:
    """Puts ticks at values of a setting, on a logarithmic axis where that spaces them more evenly."""
    places: list[float] = list(range(len(values)))
    if _are_numbers(values):
        values = sorted(values)
        places = values
        if values[0] > 0 and _unevenness(np.log(values)) < _unevenness(np.array(values)):
            axes.set_xscale("log")
    every = -(-len(values) // MOST_TICKS)
    axes.set_xticks(places[::every], [shown(value) for value in values[::every]])
    axes.xaxis.minorticks_off()


def _are_numbers(values: list[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _unevenness(values: FloatArray) -> float:
    """Returns the coefficient of variation of the gaps between ascending numbers; 0 where there is one gap."""
    gaps = np.diff(values)
    return float(gaps.std() / gaps.mean()) if len(gaps) > 1 else 0.0


def front_figure(points: pd.DataFrame, scenario: Scenario | None = None) -> Figure:
    """Returns the mean costs of policies, less of which is better, with one standard error.

    There is a panel for each pair of objectives. A line goes along what the points of a policy or family dominate in
    these two; those that are not on its front in all objectives are hollow.

    Args:
        points: What `front_points` returned.
        scenario: What was played, for the title.

    Raises:
        HetgymError: If the points have no objectives.
    """
    pairs = list(combinations(objectives_of(points), 2))
    styles = _styles(points)
    width, height = (4.6, 3.8) if len(pairs) == 1 else (3.6, 3.2)
    size = 2.8 + width * len(pairs), max(height, 0.5 + 0.22 * len(styles))
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    panels = figure.subplots(1, len(pairs), squeeze=False)[0]
    for axes, (x, y) in zip(panels, pairs, strict=True):
        for policy, style in styles.items():
            _draw_front(axes, points[points["policy"] == policy], (x, y), style)
        axes.set_xlabel(f"{x} cost (less is better)")
        axes.set_ylabel(f"{y} cost (less is better)")
        for scale, name in ((axes.set_xscale, x), (axes.set_yscale, y)):
            costs = -points[RETURN + name]
            if 0 < LOGARITHMIC_FROM * costs.min() < costs.max():
                scale("log")
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right upper", frameon=False)
    if scenario:
        figure.suptitle(scenario.name, x=0.01, ha="left")
    return figure


def _draw_front(axes: Axes, own: pd.DataFrame, pair: tuple[str, str], style: dict[str, Any]) -> None:
    """Draws one policy's points in two objectives."""
    costs = -own[[RETURN + name for name in pair]].to_numpy(dtype=float)
    errors = own[[ERROR + name for name in pair]].to_numpy(dtype=float)
    front = costs[non_dominated(-costs)]
    front = front[np.argsort(front[:, 0])]
    colour, marker = style["color"], style["marker"]
    line = style.get("linestyle", "-") if len(own) > 1 else "none"
    (x, y), (x_error, y_error) = costs.T, errors.T
    axes.errorbar(x, y, y_error, x_error, fmt="none", ecolor=colour, elinewidth=0.8, alpha=0.5)
    axes.plot([], [], markersize=5, linewidth=1.3, **style | {"linestyle": line})
    axes.step(*front.T, where="post", color=colour, linestyle=line, linewidth=1.3)
    on_front = own["on_front"].to_numpy(dtype=bool)
    for drawn, face in ((on_front, colour), (~on_front, "none")):
        axes.plot(*costs[drawn].T, linestyle="none", marker=marker, markersize=5, color=colour, markerfacecolor=face)


def check_figure_path(path: Path) -> None:
    """Checks that figures can be written in the format that a file's suffix names.

    Raises:
        HetgymError: If they cannot.
    """
    if path.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise HetgymError(f"{path}: cannot write a figure in the format {path.suffix!r}; use .png, .svg or .pdf")


def save_figure(figure: Figure, path: Path) -> None:
    """Writes a figure; the suffix says in which format. The file is replaced atomically.

    Raises:
        HetgymError: If the format is not known, or the file cannot be written.
    """
    check_figure_path(path)
    with replacing(path, "figure") as partial:
        figure.savefig(partial, format=path.suffix[1:], dpi=150)
