"""Pictures of results."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from ..errors import HetgymError

HIGHEST_RATIO = 1.2
"""Training curves are cut off above."""

CURVE = "curve.csv"
"""The file of a training run's folder that holds its results on held-out instances."""


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
