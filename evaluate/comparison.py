"""What one may say of policies that met the same instances: in one scenario, and over all of a family."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from ..envs import Scenario, load_scenario
from .multi_objective import summarise_front
from .statistics import (
    SIGNIFICANCE,
    FloatArray,
    difference_p_values,
    holm,
    interquartile_mean,
    interval,
    resampled,
    resampled_means,
)
from .summary import by_episode, find_reference, gap_closed, more_is_better, ratio_to, summarise
from .sweep import summarise_sweep

FEWER_RESAMPLES = 2000
"""Of what takes longer than a mean."""


def compare(
    table: pd.DataFrame,
    metric: str | None = None,
    reference: str | None = None,
    oracle: str | None = None,
    seed: int = 0,
    scenario: str | Path | Scenario | None = None,
) -> pd.DataFrame:
    """Returns one row a policy: all that can be said of it beside a reference, on the same episodes.

    Args:
        table: What `evaluate` returned.
        metric: As in `summarise`.
        reference: As in `summarise`.
        oracle: A policy that was played, to which the gap is measured.
        seed: Of the resampling.
        scenario: What was played.

    Returns:
        The columns of `summarise`, then ``clairvoyant``; ``losses`` (share of episodes); ``iqm`` (interquartile mean
        over episodes of the score, which is how many times better than the reference a policy was; NaN where a metric
        is not above 0), ``iqm_low`` and ``iqm_high``; ``improvement`` (probability of being better than the reference
        in an episode, a tie counting half), ``improvement_low`` and ``improvement_high``; ``p_value`` (of a difference
        of means, paired, see `difference_p_values`, Holm-corrected for the number of policies); ``verdict`` (better,
        worse, ``no difference``, reference, or ``one episode``, of which nothing follows); ``gap_closed`` of the way
        from the reference to the oracle, with ``gap_low`` and ``gap_high`` (NaN without one); ``above_bound`` (the mean
        over that of the scenario's bound, minus 1; NaN where it has none).

    Raises:
        HetgymError: If there is no such metric, reference or oracle, or an episode is there twice.
    """
    setting = None if scenario is None else load_scenario(scenario)
    summary = summarise(table, metric, reference, seed, setting)
    metric = metric or (setting.metric if setting else "makespan")
    policies, values = by_episode(table, metric)
    base = policies.index(find_reference(policies, reference, setting))
    score = scores(values, base, more_is_better(metric, setting))
    halves = summary["wins"].to_numpy() + summary["ties"].to_numpy() / 2
    p_values = np.full(len(policies), np.nan)
    others = np.arange(len(policies)) != base
    p_values[others] = holm(difference_p_values(values[:, others] - values[:, [base]], seed))
    summary.insert(1, "clairvoyant", summary["policy"].map(table.groupby("policy")["clairvoyant"].any()))
    summary["losses"] = 1.0 - summary["wins"] - summary["ties"]
    summary["iqm"], summary["iqm_low"], summary["iqm_high"] = _interquartile(score, seed)
    summary["improvement"] = halves
    low, high = interval(resampled_means(_halves(score), seed))
    summary["improvement_low"], summary["improvement_high"] = low, high
    summary["p_value"] = p_values
    summary["verdict"] = _verdicts(values, base, more_is_better(metric, setting), p_values)
    gap = gap_closed(table, metric, policies[base], oracle, seed) if oracle else None
    for name, source in (("gap_closed", "gap_closed"), ("gap_low", "low"), ("gap_high", "high")):
        summary[name] = np.nan if gap is None else gap[source]
    summary["above_bound"] = _above_bound(table, metric, summary["mean"].to_numpy(), setting)
    return summary


def scores(values: FloatArray, base: int, more: bool) -> FloatArray:
    """Returns how many times better than a reference policies were in each episode.

    Args:
        values: Of the metric, float64 (episodes, policies).
        base: The column of the reference.
        more: Whether more is better.

    Returns:
        float64 (episodes, policies); NaN where a value that is divided by is not above 0.
    """
    reference = np.broadcast_to(values[:, [base]], values.shape)
    # Sums in another order may differ in the last bits.
    same = np.isclose(values, reference, rtol=1e-9, atol=0.0)
    ratio = ratio_to(values, reference) if more else ratio_to(reference, values)
    better: FloatArray = np.where(same & ~np.isnan(ratio), 1.0, ratio)
    return better


def _halves(score: FloatArray) -> FloatArray:
    """Returns 1 where a policy was better than the reference, a half for a tie, else 0."""
    halves: FloatArray = (score > 1) + (score == 1) / 2
    return halves


def _interquartile(score: FloatArray, seed: int) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Returns the interquartile mean of each column and its interval, float64 (N,) each; NaN where a score is."""
    known = ~np.isnan(score).any(axis=0)
    results = np.full((3, score.shape[1]), np.nan)
    columns = score[:, known].T

    def middles(times: FloatArray) -> FloatArray:
        return np.stack([interquartile_mean(column, times) for column in columns], axis=1)

    if known.any():
        results[0, known] = middles(np.ones((1, len(score))))[0]
        results[1:, known] = interval(resampled([len(score)], seed, middles, FEWER_RESAMPLES))
    return results[0], results[1], results[2]


def _verdicts(values: FloatArray, base: int, more: bool, p_values: FloatArray) -> list[str]:
    means = values.mean(axis=0)
    better = means > means[base] if more else means < means[base]
    words = []
    for column in range(values.shape[1]):
        if column == base:
            words.append("reference")
        elif len(values) < 2:
            words.append("one episode")
        elif p_values[column] >= SIGNIFICANCE:
            words.append("no difference")
        else:
            words.append("better" if better[column] else "worse")
    return words


def _above_bound(table: pd.DataFrame, metric: str, means: FloatArray, setting: Scenario | None) -> FloatArray:
    bound = setting.bounds.get(metric) if setting else None
    if bound is None:
        return np.full(len(means), np.nan)
    return means / float(table[bound].mean()) - 1.0


@dataclass(frozen=True)
class Scores:
    """The scores of the policies that played in all scenarios of a family.

    Attributes:
        scenarios: What was played.
        policies: Who played all of it.
        clairvoyant: Which of them read the future.
        score: float64 (episodes, policies) for each scenario; see `scores`.
    """

    scenarios: tuple[str, ...]
    policies: tuple[str, ...]
    clairvoyant: tuple[bool, ...]
    score: tuple[FloatArray, ...]

    def of(self, policy: str) -> FloatArray:
        """Returns a policy's scores in all scenarios, float64 (all episodes,)."""
        column = self.policies.index(policy)
        return np.concatenate([score[:, column] for score in self.score])


@dataclass(frozen=True)
class Played:
    """Episodes of one scenario.

    Attributes:
        name: What it is called.
        scenario: What was played.
        table: What `evaluate` returned.
        metric: What is compared.
        reference: The policy that others are compared with.
        oracle: To which the gap is measured, if any.
    """

    name: str
    scenario: Scenario
    table: pd.DataFrame
    metric: str
    reference: str
    oracle: str | None = None

    @cached_property
    def comparison(self) -> pd.DataFrame:
        """What `compare` says of a contest."""
        return compare(self.table, self.metric, self.reference, self.oracle, scenario=self.scenario)

    @cached_property
    def sweep_summary(self) -> pd.DataFrame:
        """What `summarise_sweep` says of a sweep."""
        return summarise_sweep(self.table, [self.metric], self.reference, scenario=self.scenario)

    @cached_property
    def front_summary(self) -> pd.DataFrame:
        """What `summarise_front` says of a front."""
        return summarise_front(self.table, reference=self.reference, scenario=self.scenario)


def family_scores(played: Sequence[Played]) -> Scores:
    """Returns the scores of the policies that played, by name, in every one of several scenarios.

    In each scenario a policy is compared with that one's reference. Scenarios where a score is not a number are left
    out.
    """
    tables = []
    for one in played:
        policies, values = by_episode(one.table, one.metric)
        base = policies.index(one.reference)
        score = scores(values, base, more_is_better(one.metric, one.scenario))
        if not np.isnan(score).any():
            tables.append((one, policies, score))
    shared = [policy for policy in (tables[0][1] if tables else []) if all(policy in names for _, names, _ in tables)]
    reads_future = [bool(_clairvoyant(tables[0][0].table)[policy]) for policy in shared]
    return Scores(
        tuple(one.name for one, _, _ in tables),
        tuple(shared),
        tuple(reads_future),
        tuple(score[:, [names.index(policy) for policy in shared]] for _, names, score in tables),
    )


def _clairvoyant(table: pd.DataFrame) -> pd.Series[bool]:
    return table.groupby("policy")["clairvoyant"].any()


def aggregate(scored: Scores, seed: int = 0) -> pd.DataFrame:
    """Returns one row a policy over all scenarios of a family.

    Episodes are resampled within each scenario (a stratified bootstrap: Agarwal et al. 2021, arXiv:2108.13264).

    Args:
        scored: What `family_scores` returned.
        seed: Of the resampling.

    Returns:
        Columns ``policy``, ``clairvoyant``, ``iqm`` (of the scores of all episodes), ``low`` and ``high``,
        ``improvement`` (probability of being better than the reference, mean over scenarios), ``improvement_low`` and
        ``improvement_high``.
    """
    counts = [len(score) for score in scored.score]
    weights = np.concatenate([np.full(count, 1 / count / len(counts)) for count in counts])
    rows = []
    for policy, clairvoyant in zip(scored.policies, scored.clairvoyant, strict=True):
        score = scored.of(policy)
        better = _halves(score)

        def both(times: FloatArray, score: FloatArray = score, better: FloatArray = better) -> FloatArray:
            return np.stack([interquartile_mean(score, times), times @ (better * weights)], axis=1)

        iqm, improvement = both(np.ones((1, len(score))))[0]
        low, high = interval(resampled(counts, seed, both, FEWER_RESAMPLES))
        rows.append((policy, clairvoyant, iqm, low[0], high[0], improvement, low[1], high[1]))
    names = ["policy", "clairvoyant", "iqm", "low", "high", "improvement", "improvement_low", "improvement_high"]
    return pd.DataFrame(rows, columns=names)
