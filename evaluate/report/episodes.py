"""Episodes to look into: they are played again, and drawn as bars over time."""

from __future__ import annotations

import math
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
"""Of an episode that is drawn whole; of a longer one as many are drawn, from its middle on."""
FIRST_BARS = 150
"""So many of a longer one are in sight at first."""
MOST_LABELS = 300
"""Bars of a chart that have their label in them; hovering shows that of all."""
MOST_GROUPS = 10
"""Of a legend."""

OUTLINED_FROM = 1 / 300
"""Bars that take a smaller share of what is in sight have no outline, in which they would vanish."""
LANE_HEIGHT, MANY_LANES, LOW_LANE_HEIGHT = 24, 12, 13
"""Pixels of a lane, and of one among many."""
TITLE_HEIGHT, BELOW = 34, 56
"""Pixels above a policy's lanes, and below all."""


def replay(scenario: Scenario, policy: str, seed: int) -> pd.DataFrame:
    """Plays the first episode of a seed again, and returns its bars: what `Simulator.bars` returns.

    Args:
        scenario: What is played.
        policy: A name for `make_policy`.
        seed: Of the episode.

    Raises:
        HetgymError: If the policy cannot be had by its name.
    """
    simulator = scenario.for_single_episodes().simulator(1)
    play_out(simulator, make_policy(policy, scenario.family), [seed])
    return simulator.bars(0)


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

    All show the same stretch of time, see `window`.

    Args:
        played: The contest.
        summary: What `compare` said of it.
        more: Whether more is better.
        folder: Where episodes are kept, and found again; by default nowhere.
    """
    seed = int(played.table["seed"].min())
    outcome = played.table[played.table["seed"] == seed].set_index("policy")
    episodes: list[pd.DataFrame] = []
    titles: list[str] = []
    notes: list[str] = []
    for policy in chosen_policies(played, summary, more):
        try:
            episodes.append(_kept_or_replayed(played.scenario, policy, seed, folder))
        except HetgymError as error:
            notes.append(f"{policy} could not be played again: {error}.")
            continue
        name = policy_name(policy, bool(outcome["clairvoyant"][policy]))
        value = quantity(outcome[played.metric][policy], UNITS.get(played.metric, ""))
        titles.append(f"<b>{name}</b>: {played.metric} {value}")
    stretch = window(episodes)
    if stretch:
        first, last = (quantity(time, "s") for time in stretch)
        lanes = max(len(bars["lane"].cat.categories) for bars in episodes)
        few = f", {MOST_LANES} of {lanes} lanes" if lanes > MOST_LANES else ""
        notes.append(f"The middle of a long episode: from {first} to {last}{few}.")
    notes.append("Drag to zoom, double-click to see all that is drawn; hover for begin and end.")
    title = f"{played.name}: the episode of seed {seed}"
    return Chart(title, *timelines(episodes, titles, stretch), " ".join(notes), wide=True)


def window(episodes: list[pd.DataFrame]) -> tuple[float, float] | None:
    """Returns from when to when long episodes are drawn, seconds; nothing if all can be drawn whole.

    It begins in the middle: at first caches are empty and devices idle, which says little of how it goes on. It ends
    where one of the episodes has `MOST_BARS`, or all are over.

    Args:
        episodes: As `replay` returns them.
    """
    if all(len(bars) <= MOST_BARS and len(bars["lane"].cat.categories) <= MOST_LANES for bars in episodes):
        return None
    begin = (max(bars["begin"].min() for bars in episodes) + min(bars["end"].max() for bars in episodes)) / 2
    rests = [cut(bars, begin, math.inf) for bars in episodes]
    full = [bars["begin"].iloc[MOST_BARS] for bars in rests if len(bars) > MOST_BARS]
    return float(begin), float(min(full, default=max(bars["end"].max() for bars in rests)))


def cut(bars: pd.DataFrame, begin: float, end: float) -> pd.DataFrame:
    """Returns the bars in a stretch of time; of many lanes the first `MOST_LANES` that have any.

    Args:
        bars: Of an episode.
        begin: Seconds; a bar that ends later is in.
        end: Seconds; a bar that begins before is in.
    """
    shown = bars[(bars["end"] > begin) & (bars["begin"] < end)]
    if len(bars["lane"].cat.categories) <= MOST_LANES:
        return shown
    lanes = shown["lane"].cat.remove_unused_categories().cat.categories[:MOST_LANES]
    return shown[shown["lane"].isin(lanes)].assign(lane=lambda kept: kept["lane"].cat.set_categories(lanes))


def timelines(
    episodes: list[pd.DataFrame], titles: list[str], stretch: tuple[float, float] | None = None
) -> tuple[list[Trace], dict[str, Any]]:
    """Returns traces and layout of episodes one above the other, a trace for each episode and group.

    Args:
        episodes: As `replay` returns them.
        titles: Of the episodes.
        stretch: What `window` returned.
    """
    # Colours and legend are in the order of the whole episode.
    groups = list(dict.fromkeys(group for bars in episodes for group in bars["group"]))
    has_legend = 1 < len(groups) <= MOST_GROUPS
    if stretch:
        episodes = [cut(bars, *stretch) for bars in episodes]
    sight = _in_sight(episodes, stretch)
    thin = OUTLINED_FROM * (sight[1] - sight[0])
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
            **({"range": list(sight)} if stretch else {}),
        },
        "annotations": [],
        "legend": legend(),
    }
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
            rank = groups.index(str(group))
            colour = COLOURS[rank % len(COLOURS)]
            shown_in_legend = has_legend and group not in named
            named.add(str(group))
            data.append(_bars(own, str(group), colour, axis, shown_in_legend, labelled, thin) | {"legendrank": rank})
    return data, layout


def _in_sight(episodes: list[pd.DataFrame], stretch: tuple[float, float] | None) -> tuple[float, float]:
    """Returns what is in sight at first: all, or the first bars of a stretch of time."""
    if stretch is None:
        begins, ends = [bars["begin"].min() for bars in episodes], [bars["end"].max() for bars in episodes]
        return float(min(begins, default=0.0)), float(max(ends, default=0.0))
    begin, end = stretch
    last = [float(bars["begin"].iloc[FIRST_BARS]) for bars in episodes if len(bars) > FIRST_BARS]
    return begin, max(last, default=end)


def _lanes_height(bars: pd.DataFrame) -> int:
    count = len(bars["lane"].cat.categories)
    return count * (LANE_HEIGHT if count <= MANY_LANES else LOW_LANE_HEIGHT) + 8


def _bars(own: pd.DataFrame, group: str, colour: str, axis: str, in_legend: bool, labelled: bool, thin: float) -> Trace:
    """Returns the bars of a group; those that take less than some seconds have no outline."""
    length = own["end"] - own["begin"]
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
        "x": length.tolist(),
        "marker": {
            "color": colour,
            "line": {"width": (0.5 * (length >= thin)).tolist(), "color": "rgba(255,255,255,0.7)"},
        },
        "text": own["label"].tolist() if labelled else None,
        "textposition": "inside" if labelled else "none",
        "insidetextanchor": "middle",
        "textangle": 0,
        "customdata": hover,
        "hovertemplate": HOVER,
    }
