"""Episodes to look into: they are played again, and drawn as bars over time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ...agents import make_policy
from ...envs import Scenario
from ...errors import HetgymError, replacing
from ..cells import Cell
from ..comparison import Played
from ..evaluation import play_out
from .charts import COLOURS, HOVER, Trace, legend, rows_axis, unit_ticks
from .numbers import UNITS, quantity
from .parts import Chart
from .tables import policy_name

MOST_BARS, MOST_LANES = 600, 32
"""Of an episode that is drawn; what follows is left out."""
FIRST_BARS = 150
"""So many are in sight at first."""
MOST_LABELS = 300
"""Bars of a chart that have their label in them; hovering shows that of all."""
MOST_GROUPS = 10
"""Of a legend."""

LANE_HEIGHT, MANY_LANES, LOW_LANE_HEIGHT = 24, 12, 13
"""Pixels of a lane, and of one among many."""
TITLE_HEIGHT, BELOW = 34, 56
"""Pixels above a policy's lanes, and below all."""


def replay(scenario: Scenario, policy: str, seed: int) -> pd.DataFrame:
    """Plays the first episode of a seed again, and returns its bars.

    Args:
        scenario: What is played.
        policy: A name for `make_policy`.
        seed: Of the episode.

    Returns:
        The first bars of what `Simulator.bars` returns, see `cut`; ``attrs["bars"]`` says how many there are in all.

    Raises:
        HetgymError: If the policy cannot be had by its name.
    """
    simulator = scenario.for_single_episodes().simulator(1)
    play_out(simulator, make_policy(policy, scenario.family), [seed])
    bars = simulator.bars(0)
    shown = cut(bars)
    shown.attrs["bars"] = len(bars)
    return shown


def _kept_or_replayed(scenario: Scenario, policy: str, seed: int, folder: Path | None) -> pd.DataFrame:
    """Returns what `replay` does; what is kept in a folder is not played again."""
    if folder is None:
        return replay(scenario, policy, seed)
    path = folder / f"{Cell(scenario, policy, seed, 1).key}.parquet"
    if not path.is_file():
        bars = replay(scenario, policy, seed)
        with replacing(path, "episode") as partial:
            bars.to_parquet(partial)
    return pd.read_parquet(path)


def chosen_policies(played: Played, summary: pd.DataFrame, more: bool) -> list[str]:
    """Returns whose episodes are drawn: the reference, the best of those that do not read the future, and a third.

    The third is the oracle, if there is one, else the next best.

    Args:
        played: The contest.
        summary: What `compare` said of it.
        more: Whether more is better.
    """
    best = summary.sort_values("mean", ascending=not more, kind="stable")
    causal = best.loc[~best["clairvoyant"], "policy"].tolist()
    oracles = best.loc[best["clairvoyant"], "policy"].tolist()
    wanted = [played.reference, *causal[:1], *oracles[:1], *causal, *oracles]
    return list(dict.fromkeys(wanted))[:3]


def episode_chart(played: Played, summary: pd.DataFrame, more: bool, folder: Path | None = None) -> Chart:
    """Returns the first episode of some policies: lanes of bars, one policy above the other on the same clock.

    Args:
        played: The contest.
        summary: What `compare` said of it.
        more: Whether more is better.
        folder: Where episodes are kept, and found again; by default nowhere.
    """
    seed = int(played.table["seed"].min())
    outcome = played.table[played.table["seed"] == seed].set_index("policy")
    drawn: list[pd.DataFrame] = []
    titles: list[str] = []
    notes: list[str] = []
    for policy in chosen_policies(played, summary, more):
        try:
            bars = _kept_or_replayed(played.scenario, policy, seed, folder)
        except HetgymError as error:
            notes.append(f"{policy} could not be played again: {error}.")
            continue
        drawn.append(bars)
        name = policy_name(policy, bool(outcome["clairvoyant"][policy]))
        value = quantity(outcome[played.metric][policy], UNITS.get(played.metric, ""))
        titles.append(f"<b>{name}</b>: {played.metric} {value}")
        if len(bars) < bars.attrs["bars"]:
            notes.append(f"{policy}: the first {len(bars):,} of {bars.attrs['bars']:,} bars.")
    notes.append("Drag to zoom, double-click to see all; hover for begin and end.")
    title = f"{played.name}: the episode of seed {seed}"
    return Chart(title, *timelines(drawn, titles), " ".join(notes), wide=True)


def cut(bars: pd.DataFrame) -> pd.DataFrame:
    """Returns the first bars, at most `MOST_BARS`, without lanes beyond the first `MOST_LANES`."""
    lanes = bars["lane"].cat.categories[:MOST_LANES]
    shown = bars[bars["lane"].isin(lanes)].head(MOST_BARS)
    return shown.assign(lane=shown["lane"].cat.set_categories(lanes))


def timelines(episodes: list[pd.DataFrame], titles: list[str]) -> tuple[list[Trace], dict[str, Any]]:
    """Returns traces and layout of episodes one above the other, a trace for each episode and group.

    Args:
        episodes: As `cut` returns them.
        titles: Of the episodes.
    """
    groups = list(dict.fromkeys(group for bars in episodes for group in bars["group"]))
    has_legend = 1 < len(groups) <= MOST_GROUPS
    labelled = sum(map(len, episodes)) <= MOST_LABELS
    heights = [TITLE_HEIGHT + _lanes_height(bars) for bars in episodes]
    total = sum(heights) or 1
    data: list[Trace] = []
    layout: dict[str, Any] = {
        "height": total + BELOW + 30 * has_legend,
        "barmode": "overlay",
        "bargap": 0.12,
        "uniformtext": {"mode": "hide", "minsize": 8},
        "xaxis": {
            **unit_ticks("s"),
            "title": {"text": "time"},
            "anchor": "free",
            "position": 0,
        },
        "annotations": [],
        "legend": {**legend(), "traceorder": "normal"},
    }
    if any(len(bars) > FIRST_BARS for bars in episodes):
        layout["xaxis"]["range"] = [
            min(float(bars["begin"].iloc[0]) for bars in episodes),
            max(float(bars["end"].head(FIRST_BARS).max()) for bars in episodes),
        ]
    named: set[str] = set()
    for place, (bars, title, height) in enumerate(zip(episodes, titles, heights, strict=True)):
        top = 1 - sum(heights[:place]) / total
        axis = "y" if place == 0 else f"y{place + 1}"
        domain = [max(top - height / total, 0.0), top - TITLE_HEIGHT / total]
        layout[f"yaxis{axis[1:]}"] = {**rows_axis(list(bars["lane"].cat.categories)), "domain": domain}
        layout["annotations"].append(
            {"text": title, "xref": "paper", "yref": "paper", "x": 0, "y": domain[1], "xanchor": "left",
             "yanchor": "bottom", "showarrow": False}
        )  # fmt: skip
        for group, own in bars.groupby("group", sort=False):
            colour = COLOURS[groups.index(str(group)) % len(COLOURS)]
            shown_in_legend = has_legend and group not in named
            named.add(str(group))
            data.append(_bars(own, str(group), colour, axis, shown_in_legend, labelled))
    return data, layout


def _lanes_height(bars: pd.DataFrame) -> int:
    count = len(bars["lane"].cat.categories)
    return count * (LANE_HEIGHT if count <= MANY_LANES else LOW_LANE_HEIGHT) + 8


def _bars(own: pd.DataFrame, group: str, colour: str, axis: str, in_legend: bool, labelled: bool) -> Trace:
    """Returns the bars of a group."""
    hover = [
        f"<b>{label}</b><br>{lane}<br>from {quantity(begin, 's')} to {quantity(end, 's')}"
        f"<br>takes {quantity(end - begin, 's')}"
        for label, lane, begin, end in zip(own["label"], own["lane"], own["begin"], own["end"], strict=True)
    ]
    return {
        "type": "bar",
        "orientation": "h",
        "name": group,
        "legendgroup": group,
        "showlegend": in_legend,
        "xaxis": "x",
        "yaxis": axis,
        "y": own["lane"].astype(str).tolist(),
        "base": own["begin"].tolist(),
        "x": (own["end"] - own["begin"]).tolist(),
        "marker": {"color": colour, "line": {"width": 0.5, "color": "rgba(255,255,255,0.7)"}},
        "text": own["label"].tolist() if labelled else None,
        "textposition": "inside" if labelled else "none",
        "insidetextanchor": "middle",
        "textangle": 0,
        "customdata": hover,
        "hovertemplate": HOVER,
    }
