"""The charts of a report, as plotly.js takes them: traces and layout, as plain dictionaries.

The page sets colours of text, lines and backgrounds, which depend on whether it is dark; colours of data are the same
on both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd

from ..comparison import Played, Scores
from ..fronts import non_dominated
from ..multi_objective import ERROR, RETURN, objectives_of
from ..statistics import FloatArray, profile
from ..sweep import shown, swept
from .numbers import PREFIXED, UNITS, Scale, interval, number, percent
from .parts import Chart
from .tables import policy_name

COLOURS = "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8a8f98"
"""Okabe's and Ito's, which colour-blind people can tell apart (Wong 2011, doi:10.1038/nmeth.1618), and a grey."""
DASHES = "solid", "dash", "dot", "dashdot"
SYMBOLS = "circle", "square", "diamond", "triangle-up", "x", "star", "triangle-down", "pentagon"

TONES = {
    "better": ("#0072b2", "circle"),
    "worse": ("#d55e00", "diamond"),
    "no difference": ("#8a8f98", "circle-open"),
    "reference": ("#8a8f98", "square"),
}
"""How a verdict is drawn: colour and symbol."""

ROW_HEIGHT, PANEL_HEIGHT = 26, 340
"""Pixels: of a policy, and of a chart without rows."""

LEGEND_WIDTH, LEGEND_ROW, LEGEND_LINE, LETTER_WIDTH = 500, 19, 45, 6.5
"""Pixels of a legend: of a chart's width, a row, the line before a name, and a letter of it."""

LOGARITHMIC_FROM = 4.0
"""Values that spread by this factor are drawn on a logarithmic axis."""
MOST_DECADES = 5
"""Of a logarithmic axis that has ticks between its powers of ten."""
AXIS_MARGIN = 0.04
"""Of an axis that several charts share, beyond the values, as a share of their spread."""
LONGEST_NAME = 24
"""Letters of a name beside an axis; hovering shows all of it."""
MOST_THRESHOLDS = 120
"""Of a performance profile."""

Trace = dict[str, Any]
Layout = dict[str, Any]


def scores_chart(title: str, summary: pd.DataFrame) -> Chart:
    """Returns interquartile means and probabilities of improvement: intervals as bars, means as lines in them.

    Args:
        title: Above it.
        summary: What `aggregate` returned.
    """
    summary = summary.sort_values("iqm", ascending=False, kind="stable")
    names = _names(summary)
    panels = (("iqm", "low", "high", number), ("improvement", "improvement_low", "improvement_high", percent))
    data: list[Trace] = []
    for place, (mean, low, high, text) in enumerate(panels):
        axis = "x" if place == 0 else "x2"
        hover = [
            f"<b>{name}</b><br>{text(middle)} ({text(first)} – {text(last)})"  # noqa: RUF001 (a dash is what it is)
            for name, middle, first, last in zip(names, summary[mean], summary[low], summary[high], strict=True)
        ]
        common = {"y": names, "xaxis": axis, "yaxis": "y", "showlegend": False, "customdata": hover}
        colour = COLOURS[place]
        data.append(
            {
                "type": "bar",
                "orientation": "h",
                "base": _list(summary[low]),
                "x": _list(summary[high] - summary[low]),
                "marker": {"color": colour, "opacity": 0.45},
                "width": 0.55,
                "hovertemplate": HOVER,
                **common,
            }
        )
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "x": _list(summary[mean]),
                "marker": {"symbol": "line-ns-open", "size": 15, "line": {"width": 3}, "color": colour},
                "hovertemplate": HOVER,
                **common,
            }
        )
    score_axis = {"domain": [0, 0.56], **_axis(summary["iqm"]), "title": {"text": "IQM score"}}
    layout: Layout = {
        "height": max(_height(names), _profile_height(names)),
        "barmode": "overlay",
        "yaxis": rows_axis(names),
        "xaxis": score_axis,
        "xaxis2": {
            "domain": [0.64, 1],
            "range": [-0.03, 1.03],
            "tickformat": ".0%",
            "anchor": "y",
            "title": {"text": "P(better)"},
        },
        "shapes": [_line(1.0, "x"), _line(0.5, "x2")],
    }
    return Chart(title, data, layout, "Bars: 95 % intervals. Right of the dotted line is better than the reference.")


def profile_chart(title: str, scored: Scores) -> Chart:
    """Returns performance profiles: which share of episodes reach each score, one line a policy.

    Args:
        title: Above it.
        scored: What `family_scores` returned.
    """
    scores = {name: scored.of(name) for name in scored.policies}
    every = np.concatenate(list(scores.values()))
    # The few best and worst episodes would leave no room for the rest.
    low, high = np.quantile(every, [0.01, 0.99])
    margin = 0.02 * (high - low) or 0.02
    thresholds = np.linspace(low - margin, high + margin, MOST_THRESHOLDS)
    data = [
        {
            "type": "scatter",
            "mode": "lines",
            "name": policy_name(name, clairvoyant),
            "x": _list(thresholds),
            "y": _list(profile(scores[name], thresholds)),
            "line": {"color": COLOURS[place % len(COLOURS)], "width": 2, "dash": _dash(place), "shape": "hv"},
            "hovertemplate": "%{y:.0%} of episodes reach %{x:.3f}",
        }
        for place, (name, clairvoyant) in enumerate(zip(scored.policies, scored.clairvoyant, strict=True))
    ]
    layout: Layout = {
        "height": _profile_height(scored.policies),
        "xaxis": {"title": {"text": "score: times better than the reference"}},
        "yaxis": {"title": {"text": "episodes"}, "tickformat": ".0%", "range": [-0.02, 1.02]},
        "shapes": [_line(1.0, "x")],
        "legend": legend(),
    }
    return Chart(title, data, layout, "Share of episodes that reach a score; higher lines are better.")


def ratio_chart(played: Played, summary: pd.DataFrame, more: bool) -> Chart:
    """Returns the ratios of means to the reference's, with their intervals, the best on top.

    Args:
        played: The contest.
        summary: What `compare` said of it.
        more: Whether more is better.
    """
    known = summary[summary["ratio"].notna()].sort_values("ratio", ascending=not more, kind="stable")
    names = _names(known)
    data = []
    for verdict, (colour, symbol) in TONES.items():
        own = known[known["verdict"] == verdict]
        if len(own):
            data.append(
                {
                    "type": "scatter",
                    "mode": "markers",
                    "name": verdict,
                    "x": _list(own["ratio"]),
                    "y": _names(own),
                    "error_x": _error(own["ratio"], own["low"], own["high"]),
                    "marker": {"color": colour, "symbol": symbol, "size": 10, "line": {"width": 2, "color": colour}},
                    "customdata": [
                        f"<b>{name}</b><br>{number(ratio)} ({interval(low, high)})<br>{verdict}"
                        for name, ratio, low, high in zip(
                            _names(own), own["ratio"], own["low"], own["high"], strict=True
                        )
                    ],
                    "hovertemplate": HOVER,
                }
            )
    title = f"{played.name}: ratios of mean {played.metric} ({'more' if more else 'less'} is better)"
    layout: Layout = {
        "height": _height(names) + 24,
        "yaxis": rows_axis(names),
        "xaxis": {**_axis(known["ratio"]), "title": {"text": f"ratio to {played.reference}"}},
        "shapes": [_line(1.0, "x")],
        "legend": legend(),
    }
    return Chart(title, data, layout, "Dots: ratios of means; lines: 95 % intervals.", wide=True)


def sweep_charts(played: Played, summary: pd.DataFrame, more: bool) -> list[Chart]:
    """Returns means over the first swept setting with their intervals: a chart for each value of the others.

    All have the same axes, so that they can be compared.

    Args:
        played: The sweep.
        summary: What `summarise_sweep` returned for one metric.
        more: Whether more is better.
    """
    x, *others = swept(summary)
    groups = list(summary.groupby(others, sort=False)) if others else [((), summary)]
    axes: Layout = {
        "xaxis": {"title": {"text": x}, **_setting_axis(list(dict.fromkeys(summary[x])))},
        "yaxis": {
            **_whole(_unit_axis(played.metric, summary["mean"]), summary[["mean_low", "mean", "mean_high"]]),
            "title": {"text": f"mean {played.metric} ({'more' if more else 'less'} is better)"},
        },
    }
    note = "Bands: 95 % intervals." + (" All panels have the same axes." if len(groups) > 1 else "")
    charts = []
    for cell, rows in groups:
        setting = ", ".join(f"{name} = {shown(value)}" for name, value in zip(others, cell, strict=True))
        data = [trace for place, own in enumerate(_by_policy(rows)) for trace in _curve(own, x, place)]
        layout: Layout = {
            "height": PANEL_HEIGHT + _legend_height(rows["policy"].unique().tolist()),
            **axes,
            "legend": legend(),
        }
        title = f"{played.name}: {setting}" if setting else f"{played.name}: {played.metric} over {x}"
        charts.append(Chart(title, data, layout, note, wide=len(groups) == 1))
    return charts


def _curve(own: pd.DataFrame, x: str, place: int) -> list[Trace]:
    """Returns a policy's line and the band of its intervals."""
    own = own.sort_values(x) if _are_numbers(own[x]) else own
    values = [value if _are_numbers([value]) else shown(value) for value in own[x].tolist()]
    name = policy_name(own["policy"].iloc[0], own["clairvoyant"].iloc[0])
    colour = COLOURS[place % len(COLOURS)]
    band = {
        "type": "scatter",
        "mode": "lines",
        "x": values + values[::-1],
        "y": _list(own["mean_high"]) + _list(own["mean_low"])[::-1],
        "fill": "toself",
        "fillcolor": _faint(colour),
        "line": {"width": 0},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": name,
    }
    line = {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "legendgroup": name,
        "x": values,
        "y": _list(own["mean"]),
        "line": {"color": colour, "width": 2, "dash": _dash(place)},
        "marker": {"symbol": SYMBOLS[place % len(SYMBOLS)], "size": 7},
        "customdata": [interval(*ends) for ends in zip(own["mean_low"], own["mean_high"], strict=True)],
        "hovertemplate": "%{y:.4s} (%{customdata})",
    }
    return [band, line]


def front_charts(played: Played, points: pd.DataFrame) -> list[Chart]:
    """Returns the mean costs of policies, a chart for each pair of objectives.

    A line goes along what a policy's points do not dominate in the two; points that are not on its front in all
    objectives are hollow. Objectives in which all points are the same are left out, while two others remain.

    Args:
        played: The contest.
        points: What `front_points` returned.
    """
    charts = []
    objectives = _varied(points)
    pairs = list(combinations(objectives, 2))
    same = [name for name in objectives_of(points) if name not in objectives]
    note = "Crosses: one standard error. Hollow points are dominated by another of the same policy."
    note += f" All points have the same {' and '.join(same)}." if same else ""
    for pair in pairs:
        data = [trace for place, own in enumerate(_by_policy(points)) for trace in _front(own, pair, place)]
        layout: Layout = {
            "height": PANEL_HEIGHT + 80 + _legend_height(points["policy"].unique().tolist()),
            **{
                axis: {"title": {"text": f"{name} cost (less is better)"}, **_axis(-points[RETURN + name])}
                for axis, name in zip(("xaxis", "yaxis"), pair, strict=True)
            },
            "legend": legend(),
            "hovermode": "closest",
        }
        charts.append(Chart(f"{played.name}: {pair[0]} against {pair[1]}", data, layout, note, wide=len(pairs) == 1))
    return charts


def _varied(points: pd.DataFrame) -> list[str]:
    """Returns the objectives in which points differ; all if they are fewer than two."""
    objectives = objectives_of(points)
    varied = [name for name in objectives if points[RETURN + name].nunique() > 1]
    return varied if len(varied) > 1 else objectives


def _front(own: pd.DataFrame, pair: tuple[str, str], place: int) -> list[Trace]:
    """Returns a policy's points in two objectives, and the line along those that none dominates."""
    # The legend shows the first point's symbol.
    own = own.sort_values("on_front", ascending=False, kind="stable")
    costs = -own[[RETURN + name for name in pair]].to_numpy(dtype=float)
    errors = own[[ERROR + name for name in pair]].to_numpy(dtype=float)
    front = costs[non_dominated(-costs)]
    front = front[np.argsort(front[:, 0])]
    name = policy_name(own["policy"].iloc[0], own["clairvoyant"].iloc[0])
    colour, symbol = COLOURS[place % len(COLOURS)], SYMBOLS[place % len(SYMBOLS)]
    line = {
        "type": "scatter",
        "mode": "lines",
        "x": _list(front[:, 0]),
        "y": _list(front[:, 1]),
        "line": {"color": colour, "width": 1.5, "shape": "hv", "dash": _dash(place)},
        "hoverinfo": "skip",
        "showlegend": False,
        "legendgroup": name,
    }
    points = {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "legendgroup": name,
        "x": _list(costs[:, 0]),
        "y": _list(costs[:, 1]),
        "error_x": {"array": _list(errors[:, 0]), "thickness": 1, "width": 0, "color": _faint(colour, 0.6)},
        "error_y": {"array": _list(errors[:, 1]), "thickness": 1, "width": 0, "color": _faint(colour, 0.6)},
        "marker": {
            "color": colour,
            "symbol": [symbol if best else f"{symbol}-open" for best in own["on_front"]],
            "size": 9,
        },
        "customdata": own["member"].tolist(),
        "hovertemplate": f"<b>%{{customdata}}</b><br>{pair[0]} %{{x:.4s}}<br>{pair[1]} %{{y:.4s}}<extra></extra>",
    }
    return [line, points]


def comparisons_chart(comparisons: pd.DataFrame) -> Chart:
    """Returns our figures with their intervals, and the published ones.

    Args:
        comparisons: Those of `Results`.
    """
    words = zip(comparisons["paper"], comparisons["metric"], strict=True)
    names = [f"{place}. {paper} {metric}" for place, (paper, metric) in enumerate(words, 1)]
    ratio, low, high, figure = (comparisons[name] for name in ("ratio", "low", "high", "figure"))
    data = [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "ours",
            "y": names,
            "x": _list(ratio),
            "error_x": _error(ratio, low, high),
            "marker": {"color": COLOURS[0], "size": 9},
            "customdata": [
                f"<b>{row['setting']}</b><br>{row['policy']} against {row['against']}<br>"
                f"ours {number(row['ratio'])} ({interval(row['low'], row['high'])})"
                for row in comparisons.to_dict("records")
            ],
            "hovertemplate": HOVER,
        },
        {
            "type": "scatter",
            "mode": "markers",
            "name": "published",
            "y": names,
            "x": _list(figure),
            "marker": {"color": COLOURS[1], "size": 10, "symbol": "diamond-open", "line": {"width": 2}},
            "hovertemplate": "%{y}<br>published %{x}<extra></extra>",
        },
    ]
    layout: Layout = {
        "height": _height(names) + 24,
        "yaxis": rows_axis(names),
        "xaxis": {**_axis(pd.concat([ratio, figure])), "title": {"text": "times better"}},
        "shapes": [_line(1.0, "x")],
        "legend": legend(),
    }
    return Chart("Ours beside published figures", data, layout, "Lines: 95 % intervals.", wide=True)


HOVER = "%{customdata}<extra></extra>"


def _list(values: FloatArray | pd.Series[float]) -> list[float | None]:
    """Returns numbers for JSON, which has no NaN."""
    return [value if np.isfinite(value) else None for value in np.asarray(values, float).tolist()]


def _names(summary: pd.DataFrame) -> list[str]:
    return [policy_name(*pair) for pair in zip(summary["policy"], summary["clairvoyant"], strict=True)]


def _by_policy(table: pd.DataFrame) -> list[pd.DataFrame]:
    return [own for _, own in table.groupby("policy", sort=False)]


def _error(middle: pd.Series[float], low: pd.Series[float], high: pd.Series[float]) -> dict[str, Any]:
    ends = {"array": _list(high - middle), "arrayminus": _list(middle - low)}
    return {"type": "data", "symmetric": False, "thickness": 2, "width": 4, **ends}


def _axis(values: pd.Series[float]) -> dict[str, Any]:
    """Returns an axis for values, logarithmic where they are far apart."""
    known = values[np.isfinite(values)]
    if not len(known) or known.min() <= 0 or known.max() <= LOGARITHMIC_FROM * known.min():
        return {"type": "linear"}
    decades = range(int(np.floor(np.log10(known.min()))), int(np.ceil(np.log10(known.max()))) + 1)
    steps = (1, 2, 5) if len(decades) <= MOST_DECADES else (1,)
    return {"type": "log", "tickvals": [step * 10.0**decade for decade in decades for step in steps]}


def _unit_axis(metric: str, values: pd.Series[float]) -> dict[str, Any]:
    axis, unit = _axis(values), UNITS.get(metric, "")
    if unit not in PREFIXED:
        return axis
    if "tickvals" not in axis:
        return {**axis, **unit_ticks(unit)}
    # plotly.js leaves the unit out where ticks of a logarithmic axis are given.
    return {**axis, "ticktext": [_tick(value, unit) for value in axis["tickvals"]]}


def _tick(value: float, unit: str) -> str:
    scale = Scale.of([value], unit)
    return f"{value / scale.size:g}{scale.unit}"


def _whole(axis: dict[str, Any], values: pd.DataFrame) -> dict[str, Any]:
    """Returns an axis that reaches over all of some values, with a margin."""
    known = values.to_numpy(float)
    known = known[np.isfinite(known) & ((known > 0) | (axis["type"] != "log"))]
    if not len(known):
        return axis
    # plotly.js wants the exponents of a logarithmic axis's ends.
    low, high = (float(np.log10(end) if axis["type"] == "log" else end) for end in (known.min(), known.max()))
    margin = AXIS_MARGIN * (high - low) or abs(high) / 2 or 1.0
    return {**axis, "range": [low - margin, high + margin]}


def unit_ticks(unit: str) -> dict[str, str]:
    """Returns what gives an axis ticks in a unit with SI prefixes."""
    return {"tickformat": "~s", "ticksuffix": unit}


def _setting_axis(values: Sequence[Any]) -> dict[str, Any]:
    """Returns the axis of a setting, with ticks at its values: numbers by size, all else side by side."""
    if not _are_numbers(values):
        return {"type": "category"}
    values = sorted(values)
    spread = values[0] > 0 and values[-1] >= LOGARITHMIC_FROM * values[0]
    return {"type": "log" if spread else "linear", "tickvals": values, "ticktext": [shown(value) for value in values]}


def _are_numbers(values: Sequence[Any] | pd.Series[Any]) -> bool:
    return all(
        isinstance(value, int | float | np.number) and not isinstance(value, bool | np.bool_) for value in values
    )


def rows_axis(names: Sequence[str]) -> dict[str, Any]:
    """Returns a vertical axis with a row for each name, the first on top."""
    return {
        "type": "category",
        "categoryorder": "array",
        "categoryarray": list(names),
        "tickvals": list(names),
        "ticktext": [name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…" for name in names],
        "range": [len(names) - 0.5, -0.5],
        "fixedrange": True,
        "automargin": True,
    }


def _height(names: Sequence[str]) -> int:
    return 90 + ROW_HEIGHT * len(names)


def legend() -> dict[str, Any]:
    """Returns a legend above the chart, where it takes no width."""
    return {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "maxheight": 0.8}


def _legend_height(names: Sequence[str]) -> int:
    """Returns the pixels of a legend of so many names, in columns as wide as the longest of them."""
    columns = max(int(LEGEND_WIDTH / (LEGEND_LINE + LETTER_WIDTH * max(map(len, names), default=0))), 1)
    return LEGEND_ROW * math.ceil(len(names) / columns)


def _profile_height(names: Sequence[str]) -> int:
    return PANEL_HEIGHT + _legend_height(names)


def _line(place: float, axis: str) -> dict[str, Any]:
    """Returns a dotted vertical line; the page gives it a colour."""
    return {
        "type": "line",
        "xref": axis,
        "yref": "paper",
        "x0": place,
        "x1": place,
        "y0": 0,
        "y1": 1,
        "line": {"dash": "dot", "width": 1.5},
    }


def _dash(place: int) -> str:
    return DASHES[place // len(COLOURS) % len(DASHES)]


def _faint(colour: str, opacity: float = 0.14) -> str:
    red, green, blue = (int(colour[first : first + 2], 16) for first in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"
