"""Suites: what is played together, from a YAML file; cell by cell, and only what is not finished yet."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from ..envs import Scenario, load_scenario
from ..errors import HetgymError, one_line, read_yaml, unknown_name
from .cells import Cell, CellStore, cells_of
from .comparison import Played
from .evaluation import check_episodes, evaluate, make_policies, meant
from .launchers import Launcher, LocalLauncher
from .multi_objective import choose_objectives, make_fronts, of_point, points_of, weight_vectors
from .summary import check_metrics, find_reference, more_is_better, summarise
from .sweep import cells as grid
from .sweep import of_cell

SUITES = Path(__file__).parent / "suites"

_Settings = dict[str, Any]

_Play = tuple[Scenario, str, Callable[[pd.DataFrame], pd.DataFrame]]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _beside_suite(scenario: str | None, info: ValidationInfo) -> str | None:
    if scenario and info.context and Path(scenario).suffix in {".yaml", ".yml", ".json"}:
        return str(info.context["folder"] / scenario)
    return scenario


class Contest(_Frozen):
    """Policies that play the same episodes of a scenario.

    Attributes:
        name: What it is called; by default the scenario's name.
        scenario: As in `hetgym.envs.load_scenario`; a path is relative to the suite's file.
        set: Settings of the scenario that differ.
        policies: Names for `hetgym.agents.make_policy`; ``baselines`` stands for those of the scenario, ``pretrained``
            for the checkpoint that comes with hetgym for it.
        metric: What is compared; by default the scenario's.
        reference: The policy that others are compared with; by default the scenario's where it plays, else the first.
        oracle: One of the policies, to which the gap is measured.
        episodes: Of each policy; by default the suite's.
        sweep: Values of settings; every combination of them is played.
        front: Whether fronts are compared: policies that are conditioned on the weights of objectives play once for
            each weight vector.
        weights: How many weight vectors; by default as in `weight_vectors`.
    """

    name: str = ""
    scenario: str
    set: _Settings = {}
    policies: Annotated[tuple[str, ...], Field(min_length=1)] = ("baselines",)
    metric: str | None = None
    reference: str | None = None
    oracle: str | None = None
    episodes: Annotated[int, Field(ge=1)] | None = None
    sweep: dict[str, tuple[Any, ...]] = {}
    front: bool = False
    weights: Annotated[int, Field(ge=1)] | None = None

    _beside = field_validator("scenario")(_beside_suite)

    @model_validator(mode="after")
    def _check(self) -> Contest:
        if self.sweep and self.front:
            raise ValueError("sweep: is not for a front; make two contests")
        if self.weights and not self.front:
            raise ValueError("weights: is for a front; add front: true")
        return self

    @property
    def title(self) -> str:
        """What it is called."""
        return self.name or self.scenario


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

    _beside = field_validator("scenario", "against_scenario")(_beside_suite)


class Suite(_Frozen):
    """Contests and comparisons that are played together.

    Attributes:
        name: Lower-case with hyphens.
        description: One sentence.
        episodes: Of each policy, where nothing else is asked for.
        contests: Policies side by side.
        rows: Policies in pairs, with the figures of publications.
    """

    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    episodes: Annotated[int, Field(ge=1)] = 100
    contests: tuple[Contest, ...] = ()
    rows: tuple[Row, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Suite:
        if not self.contests and not self.rows:
            raise ValueError("must have contests or rows")
        titles = [contest.title for contest in self.contests]
        for title in titles:
            if titles.count(title) > 1:
                raise ValueError(f"contests: {title!r} is there twice; give each a name")
        return self


@dataclass(frozen=True)
class Results:
    """What came of a suite.

    Attributes:
        suite: What was played.
        seed: Of the first episode.
        contests: The episodes of each contest that is neither a sweep nor a front.
        sweeps: Those of each sweep; their tables are what `sweep` returns.
        fronts: Those of each front; their tables are what `evaluate_front` returns.
        comparisons: One row for each of the suite's rows: ``paper``, ``setting``, ``policy``, ``against``, ``metric``,
            ``mean`` and ``against_mean`` of it in SI units, ``ratio`` (how many times better the policy's mean is: of a
            time, the speed-up), its interval ``low`` and ``high`` (see `summarise`; episodes are paired by their
            seeds), ``figure`` (the published one; NaN for none) and ``note``.
    """

    suite: Suite
    seed: int
    contests: tuple[Played, ...]
    sweeps: tuple[Played, ...]
    fronts: tuple[Played, ...]
    comparisons: pd.DataFrame

    @property
    def episodes(self) -> pd.DataFrame:
        """One row for each episode of all contests: ``contest``, then the columns of its table."""
        played = (*self.contests, *self.sweeps, *self.fronts)
        tables = [one.table.assign(contest=one.name) for one in played] or [pd.DataFrame({"contest": []})]
        together = pd.concat(tables, ignore_index=True)
        return together[["contest", *(name for name in together if name != "contest")]]


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


@dataclass(frozen=True)
class _Part:
    """Episodes of one policy, which a contest or a row needs.

    Attributes:
        place: Where in the suite, for messages.
        scenario: What is played.
        policy: Who plays.
        metric: What is compared.
        cells: What is played.
        finish: Makes of their table what the contest's is put together from.
    """

    place: str
    scenario: Scenario
    policy: str
    metric: str
    cells: tuple[Cell, ...]
    finish: Callable[[pd.DataFrame], pd.DataFrame] = field(default=lambda table: table)


def run_suite(
    suite: str | Path | Suite,
    episodes: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
    folder: Path | None = None,
    launcher: Launcher | None = None,
) -> Results:
    """Plays what is not finished of a suite.

    What several contests and rows need is played once.

    Args:
        suite: As in `load_suite`.
        episodes: Of each policy; by default what the suite says. Episode i is episode 0 of seed + i for all of them.
        seed: Of the first episode.
        progress: Called with the number of episodes that have just ended, and how many had to be played in all.
        folder: Where finished cells are kept, and found again; by default nowhere.
        launcher: Where cells are played; by default here.

    Raises:
        HetgymError: If the suite, one of its scenarios, settings, policies or metrics is not right; this is found out
            before all is played.
    """
    suite = load_suite(suite)
    contests = [_contest_parts(suite, contest, episodes, seed) for contest in suite.contests]
    rows = [_row_parts(suite, number, episodes, seed) for number in range(len(suite.rows))]
    parts = [part for several in (*contests, *rows) for part in several]
    with ExitStack() as stack:
        store = CellStore(folder or Path(stack.enter_context(tempfile.TemporaryDirectory())))
        unfinished = [part for part in parts if not all(cell in store for cell in part.cells)]
        _try_out(unfinished)
        cells = {cell.key: cell for part in unfinished for cell in part.cells if cell not in store}
        total = sum(cell.episodes for cell in cells.values())
        for cell, table in (launcher or LocalLauncher()).play(list(cells.values())):
            store.put(cell, table)
            if progress:
                progress(cell.episodes, total)
        played = [_played(contest, own, store) for contest, own in zip(suite.contests, contests, strict=True)]
        compared = [_compared(row, *sides, store) for row, sides in zip(suite.rows, rows, strict=True)]
    kinds: dict[str, list[Played]] = {"contest": [], "sweep": [], "front": []}
    for contest, one in zip(suite.contests, played, strict=True):
        kinds["sweep" if contest.sweep else "front" if contest.front else "contest"].append(one)
    return Results(
        suite, seed, tuple(kinds["contest"]), tuple(kinds["sweep"]), tuple(kinds["front"]), pd.DataFrame(compared)
    )


def _contest_parts(suite: Suite, contest: Contest, episodes: int | None, seed: int) -> list[_Part]:
    place = f"suite {suite.name!r}: contest {contest.title!r}"
    count = (contest.episodes or suite.episodes) if episodes is None else episodes
    try:
        check_episodes(count, seed)
        scenario = load_scenario(contest.scenario).override(**contest.set)
        policies = meant(contest.policies, scenario)
        find_reference(policies, contest.reference, scenario)
        if contest.oracle and contest.oracle not in policies:
            raise HetgymError(f"oracle: {contest.oracle!r} does not play; choose one of {', '.join(policies)}")
        if len(set(policies)) < len(policies):
            raise HetgymError(f"policies: each can be named once (given: {', '.join(policies)})")
        plays = list(_plays(contest, scenario, policies))
    except HetgymError as error:
        raise HetgymError(f"{place}: {error}") from error
    metric = contest.metric or scenario.metric
    return [
        _Part(place, setting, policy, metric, tuple(cells_of(setting, policy, count, seed)), finish)
        for setting, policy, finish in plays
    ]


def _plays(contest: Contest, scenario: Scenario, policies: Sequence[str]) -> Iterator[_Play]:
    """Yields what is played in a contest, by whom, and what makes its table's part of it."""
    if contest.front:
        objectives = choose_objectives(scenario)
        vectors = weight_vectors(contest.weights, len(objectives))
        fronts = make_fronts({name: [name] for name in policies}, scenario)
        for point in points_of(fronts, scenario, objectives, vectors):
            yield point.scenario, point.front, partial(of_point, point=point)
        return
    for cell in grid(scenario, contest.sweep) if contest.sweep else [{}]:
        for policy in policies:
            yield scenario.override(**cell), policy, partial(of_cell, cell=cell)


def _row_parts(suite: Suite, number: int, episodes: int | None, seed: int) -> tuple[_Part, _Part]:
    row, count = suite.rows[number], suite.episodes if episodes is None else episodes
    place = f"suite {suite.name!r}: row {number + 1} ({row.setting})"
    try:
        check_episodes(count, seed)
        ours = load_scenario(row.scenario).override(**row.set)
        theirs = load_scenario(row.against_scenario or row.scenario).override(**row.set | row.against_set)
    except HetgymError as error:
        raise HetgymError(f"{place}: {error}") from error
    metric = row.metric or ours.metric
    return (
        _Part(place, ours, row.policy, metric, tuple(cells_of(ours, row.policy, count, seed))),
        _Part(place, theirs, row.against, metric, tuple(cells_of(theirs, row.against, count, seed))),
    )


def _try_out(parts: Sequence[_Part]) -> None:
    """Plays an episode of each policy in each scenario: what could only be refused after hours is refused now."""
    tried: dict[str, pd.DataFrame] = {}
    for part in parts:
        first = part.cells[0]
        try:
            if first.key not in tried:
                policy = make_policies([part.policy], part.scenario)
                tried[first.key] = evaluate(part.scenario, policy, 1, first.seed)
            check_metrics(tried[first.key], [part.metric])
        except HetgymError as error:
            raise HetgymError(f"{part.place}: {error}") from error


def _played(contest: Contest, parts: Sequence[_Part], store: CellStore) -> Played:
    table = pd.concat([part.finish(store.read(part.cells)) for part in parts], ignore_index=True)
    scenario = load_scenario(contest.scenario).override(**contest.set)
    reference = find_reference([part.policy for part in parts], contest.reference, scenario)
    return Played(contest.title, scenario, table, parts[0].metric, reference, contest.oracle)


def _compared(row: Row, ours: _Part, theirs: _Part, store: CellStore) -> dict[str, str | float]:
    tables = {"policy": store.read(ours.cells), "against": store.read(theirs.cells)}
    both = pd.concat([table.assign(policy=name) for name, table in tables.items()], ignore_index=True)
    better = more_is_better(ours.metric, ours.scenario)
    above, below = ("policy", "against") if better else ("against", "policy")
    summary = summarise(both, ours.metric, below, scenario=ours.scenario).set_index("policy")
    return {
        "paper": row.paper,
        "setting": row.setting,
        "policy": row.policy,
        "against": row.against,
        "metric": ours.metric,
        "mean": summary["mean"]["policy"],
        "against_mean": summary["mean"]["against"],
        **{name: summary[name][above] for name in ("ratio", "low", "high")},
        "figure": float("nan") if row.figure is None else row.figure,
        "note": row.note,
    }
