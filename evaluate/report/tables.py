"""The tables of a report."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from ..comparison import Played
from ..multi_objective import default_reference_point, front_points, objectives_of
from ..sweep import shown, swept
from .numbers import NONE, UNITS, Scale, interval, number, percent, probability, quantity
from .parts import Cell, Column, Table

READS_FUTURE = "† reads the future: nobody can decide so, but it shows what there is to gain."

POLICY = Column("policy", "Who played.", is_text=True)


def policy_name(name: str, clairvoyant: bool) -> str:
    """Returns how a policy is called in tables and charts."""
    return f"{name} †" if clairvoyant else name


def best_causal(summary: pd.DataFrame, more: bool) -> pd.Series[Any]:
    """Returns the row of the best mean among policies that do not read the future; of all if there is no other.

    Args:
        summary: What `compare` returned.
        more: Whether more is better.
    """
    causal = summary[~summary["clairvoyant"]]
    chosen = causal if len(causal) else summary
    means = chosen["mean"].to_numpy()
    return chosen.iloc[int(means.argmax() if more else means.argmin())]


def glance_table(rows: list[tuple[Played, pd.DataFrame, bool]]) -> Table:
    """Returns one row a contest: who won.

    Args:
        rows: Each contest with what `compare` said of it, and whether more is better.
    """
    columns = (
        Column("contest", "What was played, and what is compared.", is_text=True),
        Column("best policy", "The best mean of those that do not read the future.", is_text=True),
        Column("mean", "Of the best policy."),
        Column("ratio", "Of its mean to the reference's, with a 95 % interval."),
        Column("verdict", "Whether it differs from the reference.", is_text=True),
        Column("reference", "What it is compared with.", is_text=True),
        Column("episodes", "That every policy played."),
    )
    return Table("At a glance", columns, tuple(_glance(*row) for row in rows))


def _glance(played: Played, summary: pd.DataFrame, more: bool) -> tuple[Cell, ...]:
    best, count = best_causal(summary, more), played.table["episode"].nunique()
    mean = quantity(best["mean"], UNITS.get(played.metric, ""))
    return (
        Cell(played.name, played.name, f"{played.metric}, {'more' if more else 'less'} is better"),
        Cell(best["policy"], best["policy"], tone="best"),
        Cell(mean, best["mean"]),
        Cell(number(best["ratio"]), best["ratio"], interval(best["low"], best["high"])),
        _verdict(best["verdict"]),
        _words(played.reference),
        Cell(str(count), count),
    )


def contest_table(played: Played, summary: pd.DataFrame, more: bool) -> Table:
    """Returns one row a policy: all that can be said of it beside the reference.

    Args:
        played: The contest.
        summary: What `compare` said of it.
        more: Whether more is better.
    """
    scale = Scale.of(summary["mean"], UNITS.get(played.metric, ""))
    best = best_causal(summary, more)["policy"]
    columns = [
        POLICY,
        Column(scale.named(f"mean {played.metric}"), f"{'More' if more else 'Less'} is better. 95 % interval."),
        Column("ratio", f"Of the mean to that of {played.reference}. 95 % interval."),
        Column("won / tied / lost (%)", f"Episodes in which it was better than {played.reference}, the same, worse."),
        Column(
            "IQM score", f"Interquartile mean of how many times better than {played.reference} it was in an episode."
        ),
        Column("P(better)", f"Probability of being better than {played.reference} in an episode; a tie counts half."),
        Column("p", "Of a difference of means by chance; Holm-corrected for the number of policies."),
        Column("verdict", "At 5 %.", is_text=True),
    ]
    has_gap, has_bound = (bool(summary[name].notna().any()) for name in ("gap_closed", "above_bound"))
    if has_gap:
        columns.append(Column("gap closed", f"Of the way from {played.reference} (0 %) to {played.oracle} (100 %)."))
    if has_bound:
        columns.append(Column("above bound", "The mean over that of a lower bound, minus 1."))
    columns.append(Column("decision (µs)", "The policy's own time for a decision; wall time, not reproducible."))
    rows = [_policy_row(row, scale, best, has_gap, has_bound) for row in summary.to_dict("records")]
    notes = (READS_FUTURE,) if summary["clairvoyant"].any() else ()
    return Table(f"{played.name}: all policies", tuple(columns), tuple(rows), notes)


def _policy_row(row: dict[Any, Any], scale: Scale, best: str, has_gap: bool, has_bound: bool) -> tuple[Cell, ...]:
    tone = "best" if row["policy"] == best else ""
    own = [
        Cell(policy_name(row["policy"], row["clairvoyant"]), row["policy"], tone=tone),
        Cell(scale.text(row["mean"]), row["mean"], interval(row["mean_low"], row["mean_high"], scale), tone),
        Cell(number(row["ratio"]), row["ratio"], interval(row["low"], row["high"])),
        Cell(" / ".join(f"{100 * row[name]:.0f}" for name in ("wins", "ties", "losses")), row["wins"]),
        Cell(number(row["iqm"]), row["iqm"], interval(row["iqm_low"], row["iqm_high"])),
        _improvement(row),
        Cell(probability(row["p_value"]), row["p_value"]),
        _verdict(row["verdict"]),
    ]
    if has_gap:
        own.append(Cell(percent(row["gap_closed"]), row["gap_closed"], _percents(row["gap_low"], row["gap_high"])))
    if has_bound:
        own.append(Cell(percent(row["above_bound"]), row["above_bound"]))
    return *own, Cell(number(row["microseconds"]), row["microseconds"])


def scores_table(title: str, summary: pd.DataFrame) -> Table:
    """Returns one row a policy over all scenarios of a family.

    Args:
        title: Above it.
        summary: What `aggregate` returned.
    """
    columns = (
        POLICY,
        Column("IQM score", "Interquartile mean of how many times better than the reference it was. 95 % interval."),
        Column("P(better)", "Probability of being better than the reference, mean over scenarios. 95 % interval."),
    )
    rows = tuple(
        (
            Cell(policy_name(row["policy"], row["clairvoyant"]), row["policy"]),
            Cell(number(row["iqm"]), row["iqm"], interval(row["low"], row["high"])),
            _improvement(row),
        )
        for row in summary.to_dict("records")
    )
    return Table(title, columns, rows, (READS_FUTURE,) if summary["clairvoyant"].any() else ())


def sweep_table(played: Played, summary: pd.DataFrame) -> Table:
    """Returns one row a cell of the grid, and one column a policy; the best is marked.

    Args:
        played: The sweep.
        summary: What `summarise_sweep` returned for one metric.
    """
    settings = swept(summary)
    reads_future = summary.groupby("policy", sort=False)["clairvoyant"].any()
    scale = Scale.of(summary["mean"], UNITS.get(played.metric, ""))
    columns = [Column(name, "A setting.") for name in settings]
    columns += [Column(policy_name(str(name), future), "Mean.") for name, future in reads_future.items()]
    rows = []
    for cell, own in summary.groupby(settings, sort=False):
        entries = [Cell(shown(value), value if isinstance(value, int | float) else str(value)) for value in cell]
        for row in own.to_dict("records"):
            between = interval(row["mean_low"], row["mean_high"], scale)
            entries.append(Cell(scale.text(row["mean"]), row["mean"], between, "best" if row["best"] else ""))
        rows.append(tuple(entries))
    notes = ("Bold: the best mean of those that do not read the future.",)
    return Table(
        f"{played.name}: {scale.named(f'mean {played.metric}')} in each cell",
        tuple(columns),
        tuple(rows),
        (*notes, READS_FUTURE) if reads_future.any() else notes,
    )


def front_table(played: Played, summary: pd.DataFrame) -> Table:
    """Returns one row a policy: what its front is worth.

    Args:
        played: The contest.
        summary: What `summarise_front` returned.
    """
    columns = (
        POLICY,
        Column("front", "Points that no other of its own dominates, of those played."),
        Column("hypervolume", "What its points dominate, down to the reference point. 95 % interval."),
        Column("ratio", f"Of the hypervolume to that of {played.reference}. 95 % interval."),
        Column("expected utility", "Of the best point for each weight vector, mean over weights."),
        Column("utility loss", "The most that is lost for any weights against the points of all policies."),
        Column("covers", "The share of the others' fronts that it equals or dominates."),
        Column("covered", "The share of its own front that others equal or dominate."),
    )
    causal = summary.loc[~summary["clairvoyant"], "hypervolume"]
    rows = []
    for row in summary.to_dict("records"):
        tone = "best" if not row["clairvoyant"] and row["hypervolume"] == causal.max() else ""
        between = interval(row["hypervolume_low"], row["hypervolume_high"])
        rows.append(
            (
                Cell(policy_name(row["policy"], row["clairvoyant"]), row["policy"], tone=tone),
                Cell(f"{row['cardinality']} of {row['points']}", row["cardinality"]),
                Cell(number(row["hypervolume"]), row["hypervolume"], between, tone),
                Cell(number(row["ratio"]), row["ratio"], interval(row["low"], row["high"])),
                Cell(number(row["expected_utility"]), row["expected_utility"]),
                Cell(number(row["utility_loss"]), row["utility_loss"]),
                Cell(percent(row["coverage"]), row["coverage"]),
                Cell(percent(row["covered"]), row["covered"]),
            )
        )
    place = zip(objectives_of(played.table), default_reference_point(front_points(played.table)), strict=True)
    point = ", ".join(f"{name} {number(value)}" for name, value in place)
    notes = [f"The reference point of the hypervolume, in returns (minus costs): {point}."]
    notes += [
        f"{row['policy']}: {row['outside']} of {row['points']} points are below the reference point, and add nothing."
        for row in summary.to_dict("records")
        if row["outside"]
    ]
    notes += [READS_FUTURE] if summary["clairvoyant"].any() else []
    return Table(f"{played.name}: fronts", columns, tuple(rows), tuple(notes))


def comparisons_table(comparisons: pd.DataFrame) -> Table:
    """Returns one row for each of a suite's rows: our figure beside the published one.

    Args:
        comparisons: Those of `Results`.
    """
    notes = [note for note in dict.fromkeys(comparisons["note"]) if note]
    columns = (
        Column("row", "Its place in the suite."),
        Column("paper", "What published it.", is_text=True),
        Column("setting", "What was played.", is_text=True),
        POLICY,
        Column("against", "What it is compared with.", is_text=True),
        Column("metric", "What is compared.", is_text=True),
        Column("mean", "Of the policy."),
        Column("mean against", "Of what it is compared with."),
        Column("ours", "How many times better the policy's mean is. 95 % interval."),
        Column("published", "The published figure."),
        Column("note", "What one should know, below."),
    )
    rows = []
    for number_of_row, row in enumerate(comparisons.to_dict("records"), 1):
        words = [_words(row[name]) for name in ("paper", "setting", "policy", "against", "metric")]
        unit = UNITS.get(row["metric"], "")
        place = notes.index(row["note"]) + 1 if row["note"] else 0
        rows.append(
            (
                Cell(str(number_of_row), number_of_row),
                *words,
                Cell(quantity(row["mean"], unit), row["mean"]),
                Cell(quantity(row["against_mean"], unit), row["against_mean"]),
                Cell(_times(row["ratio"]), row["ratio"], interval(row["low"], row["high"]), "best"),
                Cell(_times(row["figure"]), row["figure"]),
                Cell(str(place or ""), place),
            )
        )
    numbered = tuple(f"{place}. {note}" for place, note in enumerate(notes, 1))
    return Table("Ours beside published figures", columns, tuple(rows), numbered)


def _words(text: str) -> Cell:
    return Cell(text, text)


def _times(ratio: float) -> str:
    return NONE if math.isnan(ratio) else f"{number(ratio)}×"  # noqa: RUF001 (times)


def _verdict(verdict: str) -> Cell:
    return Cell(verdict, verdict, tone="same" if verdict == "no difference" else verdict)


def _improvement(row: dict[Any, Any]) -> Cell:
    share = row["improvement"]
    return Cell(percent(share), share, _percents(row["improvement_low"], row["improvement_high"]))


def _percents(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{percent(low)} – {percent(high)}"  # noqa: RUF001 (a dash is what it is)
