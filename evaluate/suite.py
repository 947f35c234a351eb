"""Suites: comparisons of two policies that are played together, from a YAML file."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from ..agents import Policy
from ..envs import Scenario, load_scenario
from ..errors import HetgymError, one_line, read_yaml, unknown_name
from .evaluation import check_episodes, evaluate, make_policies
from .summary import check_metrics, more_is_better, summarise

SUITES = Path(__file__).parent / "suites"

_Settings = dict[str, Any]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Row(_Frozen):
    """A policy compared with another, which may play another scenario, or other settings of it, on the same seeds.

    Attributes:
        setting: What is played, in a few words.
        scenario: As in `hetgym.envs.load_scenario`; a path is relative to the suite's file.
        set: Settings of the scenario that differ.
        policy: A name for `hetgym.agents.make_policy`.
        against: That of the policy with which it is compared.
        against_scenario: What that one plays; by default the same.
        against_set: Settings that differ from ``set`` for that one.
        metric: What is compared; by default the scenario's.
        paper: Which published result this is about, if any.
        figure: The published figure: how many times better the policy is.
        note: What one should know to compare the two figures.
    """

    setting: Annotated[str, Field(min_length=1)]
    scenario: str
    set: _Settings = {}
    policy: str
    against: str
    against_scenario: str | None = None
    against_set: _Settings = {}
    metric: str | None = None
    paper: str = ""
    figure: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    note: str = ""

    @field_validator("scenario", "against_scenario")
    @classmethod
    def _beside_suite(cls, scenario: str | None, info: ValidationInfo) -> str | None:
        if scenario and info.context and Path(scenario).suffix in {".yaml", ".yml", ".json"}:
            return str(info.context["folder"] / scenario)
        return scenario


class Suite(_Frozen):
    """Comparisons that are played together.

    Attributes:
        name: Lower-case with hyphens.
        description: One sentence.
        episodes: Of each side of each row, where nothing else is asked for.
        rows: The comparisons.
    """

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    episodes: Annotated[int, Field(ge=1)] = 100
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]


@dataclass(frozen=True)
class _Side:
    """One of the two sides of a row, ready to be played."""

    key: tuple[str, ...]
    scenario: Scenario
    policy: Policy


def list_suites() -> dict[str, Path]:
    """Returns the file of every suite that comes with hetgym, by name."""
    return {path.stem: path for path in sorted(SUITES.glob("*.yaml"))}


def load_suite(suite: str | Path | Suite) -> Suite:
    """Returns a suite by name, from a file, or as it is.

    Args:
        suite: A name from `list_suites`, a path that ends in ``.yaml`` or ``.yml``, or a suite.

    Raises:
        HetgymError: If there is no such suite, or the file is not right.
    """
    if isinstance(suite, Suite):
        return suite
    path, known = Path(suite), list_suites()
    if path.suffix not in {".yaml", ".yml"}:
        if str(suite) not in known:
            raise unknown_name("suite", str(suite), [*known, "a path to a .yaml file"])
        path = known[str(suite)]
    try:
        return Suite.model_validate(read_yaml(path, "suite"), context={"folder": path.parent})
    except ValidationError as error:
        raise one_line(error, str(path)) from error


def run_suite(
    suite: str | Path | Suite,
    episodes: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> pd.DataFrame:
    """Returns how much better the policies of a suite are than those with which they are compared.

    What several rows need is played once.

    Args:
        suite: As in `load_suite`.
        episodes: Of each side of each row; by default the suite's. Episode i is episode 0 of seed + i on both sides.
        seed: Of the first episode.
        progress: Called with the number of episodes that have just ended, and how many there are in all.

    Returns:
        One row for each of the suite's: ``paper``, ``setting``, ``policy``, ``against``, ``metric``, ``mean`` and
        ``against_mean`` of it in SI units, ``ratio`` (how many times better the policy's mean is: of a time, the
        speed-up), its interval ``low`` and ``high`` (see `summarise`; episodes are paired by their seeds), ``figure``
        (the published one; NaN for none) and ``note``.

    Raises:
        HetgymError: If the suite, one of its scenarios, settings, policies or metrics is not right; this is found out
            before all is played.
    """
    suite = load_suite(suite)
    episodes = suite.episodes if episodes is None else episodes
    check_episodes(episodes, seed)
    sides = [_sides(suite, number) for number in range(len(suite.rows))]
    metrics = [row.metric or ours.scenario.metric for row, (ours, _) in zip(suite.rows, sides, strict=True)]
    _check_metrics(suite, sides, metrics, seed)
    once = {side.key: side for pair in sides for side in pair}
    total = len(once) * episodes

    def show(ended: int) -> None:
        if progress:
            progress(ended, total)

    tables = {key: evaluate(side.scenario, side.policy, episodes, seed, None, show) for key, side in once.items()}
    compared = [
        _compared(row, metric, tables[ours.key], tables[theirs.key], ours.scenario)
        for row, metric, (ours, theirs) in zip(suite.rows, metrics, sides, strict=True)
    ]
    return pd.DataFrame(compared)


def _sides(suite: Suite, number: int) -> tuple[_Side, _Side]:
    row = suite.rows[number]
    try:
        return (
            _side(row.scenario, row.set, row.policy),
            _side(row.against_scenario or row.scenario, row.set | row.against_set, row.against),
        )
    except HetgymError as error:
        raise HetgymError(f"{_place(suite, number)}: {error}") from error


def _side(name: str, settings: _Settings, policy: str) -> _Side:
    scenario = load_scenario(name).override(**settings)
    # What is wrong with a model, a platform or a cache is found out here.
    scenario.for_single_episodes().simulator(1)
    key = name, json.dumps(settings, sort_keys=True, default=str), policy
    return _Side(key, scenario, make_policies([policy], scenario)[0])


def _place(suite: Suite, number: int) -> str:
    return f"suite {suite.name!r}: row {number + 1} ({suite.rows[number].setting})"


def _check_metrics(suite: Suite, sides: Sequence[tuple[_Side, _Side]], metrics: Sequence[str], seed: int) -> None:
    """Tries out an episode of each policy in each scenario: what could only be refused after hours is refused now."""
    tried: dict[tuple[str, str], pd.DataFrame] = {}
    for number, (pair, metric) in enumerate(zip(sides, metrics, strict=True)):
        for side in pair:
            name = side.key[0], side.key[2]
            try:
                if name not in tried:
                    tried[name] = evaluate(side.scenario, side.policy, 1, seed)
                check_metrics(tried[name], [metric])
            except HetgymError as error:
                raise HetgymError(f"{_place(suite, number)}: {error}") from error


def _compared(
    row: Row, metric: str, ours: pd.DataFrame, theirs: pd.DataFrame, scenario: Scenario
) -> dict[str, str | float]:
    both = pd.concat([ours.assign(policy="policy"), theirs.assign(policy="against")], ignore_index=True)
    above, below = ("policy", "against") if more_is_better(metric, scenario) else ("against", "policy")
    summary = summarise(both, metric, below, scenario=scenario).set_index("policy")
    return {
        "paper": row.paper,
        "setting": row.setting,
        "policy": row.policy,
        "against": row.against,
        "metric": metric,
        "mean": summary["mean"]["policy"],
        "against_mean": summary["mean"]["against"],
        **{name: summary[name][above] for name in ("ratio", "low", "high")},
        "figure": float("nan") if row.figure is None else row.figure,
        "note": row.note,
    }
