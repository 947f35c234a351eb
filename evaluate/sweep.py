"""Plays policies over a grid of settings."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, DecimalException, Inexact, InvalidOperation, localcontext
from itertools import product
from math import isfinite, isnan, prod
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..agents import Policy
from ..envs import Scenario, load_scenario
from ..envs.core.changes import read_value, split_change
from ..errors import HetgymError
from .evaluation import check_episodes, evaluate, make_policies
from .summary import more_is_better, summarise

MOST_CELLS = 10_000

FORM = "NAME=START:STOP:STEP or NAME=A,B,C"


def parse_sweep(word: str) -> tuple[str, list[Any]]:
    """Returns the setting that is swept, and its values, as YAML reads them.

    Args:
        word: ``NAME=START:STOP:STEP``, STOP included, in exact decimals (``0.1:0.9:0.1``); or ``NAME=A,B,C``, in which
            values with a comma or a colon are written in brackets, braces or quotes, as in YAML.

    Raises:
        HetgymError: If the word is not of this form, or has more than `MOST_CELLS` values.
    """
    name, text = split_change(word, "sweep", FORM)
    if ":" in text and not set(text) & set("[{\"'"):
        return name, _range(name, text)
    values = read_value(f"[{text}]", f"sweep: the list of {name}")
    # "1],[2" would close the list that is put around it.
    if not isinstance(values, list):
        raise HetgymError(f"sweep: the list of {name} is not valid YAML (given: {text!r})")
    return name, values


def _range(name: str, text: str) -> list[Any]:
    words = text.split(":")
    try:
        numbers = [Decimal(word.strip()) for word in words]
    except InvalidOperation:
        numbers = []
    if len(numbers) != 3 or not all(isfinite(float(number)) for number in numbers):
        raise HetgymError(f"sweep: the range of {name} must be START:STOP:STEP, three numbers (given: {text!r})")
    try:
        values = _steps(*numbers)
    except DecimalException:  # what is more than 28 digits away
        values = None
    if values is None:
        raise HetgymError(f"sweep: {name} has more than {MOST_CELLS:,} values, or 28 digits (given: {text!r})")
    if not values:
        raise HetgymError(f"sweep: {name} does not get from {words[0]} to {words[1]} in steps of {words[2]}")
    whole = all(isinstance(read_value(word, name), int) for word in words)
    return [(int if whole else float)(value) for value in values]


def _steps(start: Decimal, stop: Decimal, step: Decimal) -> list[Decimal] | None:
    """Returns the numbers from start to stop; none if that cannot be reached, `None` if they are too many."""
    with localcontext() as exactly:
        exactly.traps[Inexact] = True
        if not step or (stop > start and step < 0) or (stop < start and step > 0):
            return []
        steps = (stop - start) // step
        return [start + index * step for index in range(int(steps) + 1)] if steps < MOST_CELLS else None


def sweep(
    scenario: str | Path | Scenario,
    policies: str | Policy | Sequence[str | Policy],
    settings: Mapping[str, Sequence[Any]],
    episodes: int = 100,
    seed: int = 0,
    reward: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> pd.DataFrame:
    """Returns how policies do in each cell of a grid of settings, all on the same realised instances.

    Args:
        scenario: As in `hetgym.envs.load_scenario`.
        policies: As in `evaluate`.
        settings: The values of each swept setting; the last setting varies fastest.
        episodes: In each cell; episode i is episode 0 of seed + i in all of them.
        seed: Of the first episode.
        reward: One of the family's rewards.
        progress: Called with the number of episodes that have just ended.

    Returns:
        First a column for each swept setting (values that are neither numbers nor text as JSON), then those of
        `evaluate`.

    Raises:
        HetgymError: If an argument is not right; settings are checked before anything is played.
    """
    check_episodes(episodes, seed)
    chosen = make_policies(policies, load_scenario(scenario))
    base = load_scenario(scenario)
    grid = cells(base, settings)
    for cell in grid:
        base.override(**cell).for_single_episodes().simulator(1, reward)
    tables = []
    for cell in grid:
        table = evaluate(base.override(**cell), chosen, episodes, seed, reward, progress)
        tables.append(of_cell(table, cell))
    return pd.concat(tables, ignore_index=True)


def of_cell(table: pd.DataFrame, cell: Mapping[str, Any]) -> pd.DataFrame:
    """Returns what `evaluate` returned for a cell of a grid, with a column for each of its settings before the others.

    Raises:
        HetgymError: If the results have a column of a setting's name.
    """
    for name in cell:
        if name in table.columns:
            raise HetgymError(f"sweep: {name!r} is also a column of the results")
    settings = pd.DataFrame({name: _key(value) for name, value in cell.items()}, index=table.index)
    return pd.concat([settings, table], axis=1)


def cells(scenario: Scenario, settings: Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    """Returns the changes that make the cells of a grid.

    Args:
        scenario: What they change.
        settings: As in `sweep`.

    Raises:
        HetgymError: If a setting has no values, or one of them twice, there are more than `MOST_CELLS`, or the
            scenario refuses one.
    """
    if not settings:
        raise HetgymError("sweep: there must be at least one setting")
    for name, values in settings.items():
        keys = [_key(value) for value in values]
        if not keys:
            raise HetgymError(f"sweep: {name} has no values")
        for place, key in enumerate(keys):
            if isinstance(key, float) and isnan(key):
                raise HetgymError(f"sweep: {name} must not be NaN")
            if key in keys[:place]:
                raise HetgymError(f"sweep: {name} has the value {shown(key)} twice")
    count = prod(len(values) for values in settings.values())
    if count > MOST_CELLS:
        raise HetgymError(f"sweep: at most {MOST_CELLS:,} cells (given: {count:,})")
    grid = [dict(zip(settings, values, strict=True)) for values in product(*settings.values())]
    for cell in grid:
        scenario.override(**cell)
    return grid


def _key(value: Any) -> bool | int | float | str:
    """Returns a value as it stands in a table."""
    if isinstance(value, np.generic):
        value = value.item()
    return value if isinstance(value, bool | int | float | str) else json.dumps(value, default=str)


def shown(value: Any) -> str:
    """Returns a value as people read it: numbers with six digits, and exponents that are multiples of three."""
    if not isinstance(value, float):
        return str(value)
    text = f"{value:g}"
    return Decimal(text).to_eng_string().replace("E+", "e").replace("E", "e") if "e" in text else text


def swept(table: pd.DataFrame) -> list[str]:
    """Returns the settings that were swept: the columns before ``policy``.

    Args:
        table: What `sweep` or `summarise_sweep` returned.

    Raises:
        HetgymError: If there is none.
    """
    columns = [str(name) for name in table.columns]
    settings = columns[: columns.index("policy")] if "policy" in columns else []
    if not settings:
        raise HetgymError("table: has no column of a swept setting before 'policy'")
    return settings


def summarise_sweep(
    table: pd.DataFrame,
    metrics: Sequence[str] | None = None,
    reference: str | None = None,
    seed: int = 0,
    scenario: str | Path | Scenario | None = None,
) -> pd.DataFrame:
    """Returns one row for each metric, cell and policy.

    Args:
        table: What `sweep` returned.
        metrics: Those that are compared; by default the scenario's, without a scenario ``makespan``.
        reference: As in `summarise`, which does the work.
        seed: Of the resampling.
        scenario: As in `summarise`.

    Returns:
        First the swept settings, then ``policy``, ``clairvoyant``, ``metric``, ``best`` (whether it has the best mean
        of those in its cell that do not read the future), and the other columns of `summarise`.

    Raises:
        HetgymError: If there is no such metric or reference.
    """
    settings = swept(table)
    setting = None if scenario is None else load_scenario(scenario)
    metrics = metrics or [setting.metric if setting else "makespan"]
    reads_future = table.groupby("policy")["clairvoyant"].any()
    summaries = []
    for metric in metrics:
        sign = -1.0 if more_is_better(metric, setting) else 1.0
        for _, rows in table.groupby(settings, sort=False):
            summary = summarise(rows.drop(columns=settings), metric, reference, seed, setting)
            cost = sign * summary["mean"]
            clairvoyant = summary["policy"].map(reads_future)
            summary.insert(1, "clairvoyant", clairvoyant)
            summary.insert(2, "metric", metric)
            summary.insert(3, "best", ~clairvoyant & np.isclose(cost, cost[~clairvoyant].min(), rtol=1e-9, atol=0.0))
            for place, name in enumerate(settings):
                summary.insert(place, name, rows[name].iloc[0])
            summaries.append(summary)
    return pd.concat(summaries, ignore_index=True)
