"""Sweeps over the settings of training, with Optuna (Akiba and others 2019, doi:10.1145/3292500.3330701).

Settings are drawn by the tree-structured Parzen estimator (Bergstra and others 2011, NeurIPS). Trials whose held-out
results are below the median of the others' at the same time are given up.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass, replace
from math import isfinite
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic_core import to_jsonable_python

from ..agents.card import load_card
from ..envs.core.changes import read_value, split_change
from ..errors import HetgymError, one_line, read_yaml, unknown_name
from ..evaluate.launchers import Launcher
from .settings import TrainSettings
from .training import train

try:
    import optuna
except ImportError as missing:
    raise HetgymError("tune: Optuna is not installed; pip install 'hetgym[tune]'") from missing

TOLD = 10
"""How often in the course of a trial its held-out result is compared with others'."""

FREE = {"output", "resume", "threads", "device"}
"""Settings that results do not depend on."""

NOT_TUNED = {"scenario", "set", "reward", "seed", "steps", "held_out", *FREE}
"""Settings across which results could not be compared, and those."""

FORM = "NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A,B,C"


class Range(BaseModel):
    """Numbers that a setting is drawn from; whole ones where the setting is one.

    Attributes:
        low: The least.
        high: The greatest.
        log: Whether their logarithms are drawn evenly.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _check(self) -> Range:
        if not (isfinite(self.low) and isfinite(self.high) and self.low < self.high):
            raise ValueError("low must be below high")
        if self.log and self.low <= 0:
            raise ValueError("low must be above 0 where log is true")
        return self

    def draw(self, name: str, trial: optuna.Trial) -> float:
        """Returns a trial's value."""
        if _is_whole(name):
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log)
        return trial.suggest_float(name, self.low, self.high, log=self.log)

    @property
    def ends(self) -> Sequence[Any]:
        """Values that must all be allowed."""
        return self.low, self.high


class Choices(BaseModel):
    """Values that a setting is drawn from.

    Attributes:
        choices: The values: words, numbers, true, false or null.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    choices: Annotated[tuple[bool | int | float | str | None, ...], Field(min_length=1)]

    def draw(self, name: str, trial: optuna.Trial) -> bool | int | float | str | None:
        """Returns a trial's value."""
        return trial.suggest_categorical(name, self.choices)

    @property
    def ends(self) -> Sequence[Any]:
        """Values that must all be allowed."""
        return self.choices


Space = dict[str, Range | Choices]
"""What is drawn, by the names of fields of `TrainSettings`; of fields of their fields with a dot."""

_SPACE = TypeAdapter(Space)


@dataclass(frozen=True)
class Sweep:
    """A sweep over settings.

    Attributes:
        settings: Of all trials, except for what is drawn; ``output`` is the folder that holds a folder for each trial.
        space: What is drawn.
        trials: How many are to end, those that are given up among them.
        storage: URL of the database that keeps them.
        study: What the sweep is called there.
    """

    settings: TrainSettings
    space: Space
    trials: int
    storage: str
    study: str


def read_space(path: Path) -> Space:
    """Returns what is drawn, from a YAML file: for each name ``low``, ``high`` and perhaps ``log``, or ``choices``.

    Raises:
        HetgymError: If the file is not right.
    """
    return _space(read_yaml(path, "search space"), str(path))


def parse_space(words: Sequence[str]) -> Space:
    """Returns what is drawn, from words of a command line: ``NAME=LOW:HIGH``, ``NAME=LOW:HIGH:log`` or ``NAME=A,B,C``.

    Raises:
        HetgymError: If a word is not of this form.
    """
    content: dict[str, Any] = {}
    for name, text in (split_change(word, "search", FORM) for word in words):
        what = f"search: the value of {name}"
        if ":" in text:
            low, high, *rest = text.split(":")
            if rest not in ([], ["log"]):
                raise HetgymError(f"search: {text!r} is not of the form {FORM}")
            content[name] = {"low": read_value(low, what), "high": read_value(high, what), "log": bool(rest)}
        else:
            content[name] = {"choices": read_value(f"[{text}]", what)}
    return _space(content, "search")


def _space(content: Any, where: str) -> Space:
    try:
        return _SPACE.validate_python(content)
    except ValidationError as error:
        raise one_line(error, where) from error


def tune(sweep: Sweep, launcher: Launcher, progress: Callable[[], None] | None = None) -> None:
    """Plays the trials of a sweep that have not ended yet.

    What other processes do that share the database counts as well, so that several may work on one sweep.

    Args:
        sweep: What is drawn, and how often.
        launcher: Where trials train.
        progress: Called when a trial has ended.

    Raises:
        HetgymError: If a setting is not right, the database cannot be used, or holds another sweep of this name.
    """
    check_space(sweep)
    ended = num_ended(_open(sweep))
    for _ in launcher.run(play_one, [sweep] * (sweep.trials - ended)):
        if progress:
            progress()


def check_space(sweep: Sweep) -> None:
    """Tries out the ends of all ranges, one by one.

    Raises:
        HetgymError: If one is not allowed.
    """
    if sweep.trials < 1:
        raise HetgymError(f"trials: must be at least 1 (given: {sweep.trials})")
    if not sweep.space:
        raise HetgymError(f"search: name at least one setting, as {FORM}")
    sweep.settings.check()
    for name, drawn in sweep.space.items():
        if name.partition(".")[0] in NOT_TUNED:
            raise HetgymError(f"search: {name} cannot be tuned: results could not be compared")
        for value in drawn.ends:
            with_values(sweep.settings, {name: value}).check()


def play_one(sweep: Sweep) -> None:
    """Trains with settings that are drawn, unless enough trials have ended meanwhile."""
    study = _open(sweep)
    if num_ended(study) < sweep.trials:
        study.optimize(lambda trial: _play(trial, sweep), n_trials=1)


def num_ended(study: optuna.Study) -> int:
    """Returns how many trials have come to an end, those that were given up among them."""
    over = (optuna.trial.TrialState.COMPLETE, optuna.trial.TrialState.PRUNED)
    return len(study.get_trials(deepcopy=False, states=over))


def best_settings(sweep: Sweep) -> tuple[TrainSettings, float, int]:
    """Returns the settings of the best trial, its held-out return, and its number.

    Raises:
        HetgymError: If no trial has been completed.
    """
    study = _open(sweep)
    try:
        best = study.best_trial
    except ValueError as error:
        raise HetgymError(f"tune: no trial of {sweep.study!r} has been completed yet") from error
    settings = replace(with_values(sweep.settings, best.params), output=sweep.settings.output / "best")
    return settings, float(best.value or 0.0), best.number


def _open(sweep: Sweep) -> optuna.Study:
    """Returns the study, which is made if there is none of this name.

    Raises:
        HetgymError: If the database cannot be used, or the study is of other settings.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    scheme, _, path = sweep.storage.partition(":///")
    if scheme == "sqlite" and path:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        study = optuna.create_study(
            study_name=sweep.study,
            storage=sweep.storage,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=3),
            load_if_exists=True,
        )
    except Exception as error:  # whatever the database's driver raises
        first = str(error).strip().partition("\n")[0]
        raise HetgymError(f"storage: cannot use {sweep.storage!r}: {first}") from error
    _check_same(study, sweep)
    return study


def _check_same(study: optuna.Study, sweep: Sweep) -> None:
    """Results of other settings cannot be compared.

    Raises:
        HetgymError: If the study was begun with other settings.
    """
    settings = {name: value for name, value in asdict(sweep.settings).items() if name not in FREE}
    space = {f"search {name}": drawn.model_dump() for name, drawn in sweep.space.items()}
    wanted = to_jsonable_python(settings | space)
    kept = study.user_attrs.get("settings")
    if kept is None:
        study.set_user_attr("settings", wanted)
    elif kept != wanted:
        names = sorted(name for name in kept.keys() | wanted.keys() if kept.get(name) != wanted.get(name))
        raise HetgymError(
            f"study: {sweep.study!r} was begun with other settings ({', '.join(names)}); name it otherwise"
        )


def _play(trial: optuna.Trial, sweep: Sweep) -> float:
    """Trains with a trial's settings, and returns the best return on held-out instances."""
    # A generator of its own for each trial: a sweep that goes on draws what it would have drawn.
    trial.study.sampler = optuna.samplers.TPESampler(seed=sweep.settings.seed + trial.number)
    values = {name: drawn.draw(name, trial) for name, drawn in sweep.space.items()}
    settings = replace(with_values(sweep.settings, values), output=_folder(sweep, trial.number))
    told = 0

    def show(steps: int, results: dict[str, float]) -> None:
        nonlocal told
        course = TOLD * steps // max(1, settings.steps)
        if "return" not in results or course <= told:
            return
        told = course
        trial.report(results["return"], course)
        if trial.should_prune():
            raise optuna.TrialPruned

    return load_card(train(settings, show) / "best").results["return"]


def _folder(sweep: Sweep, number: int) -> Path:
    return sweep.settings.output / f"trial-{number}"


def with_values(settings: TrainSettings, values: Mapping[str, Any]) -> TrainSettings:
    """Returns settings with some values changed, by their names with dots.

    Raises:
        HetgymError: If there is no such setting, or the value is of another type.
    """
    for name, value in values.items():
        settings = _with_value(settings, name.split("."), name, value)
    try:
        return _SETTINGS.validate_python(asdict(settings))
    except ValidationError as error:
        raise one_line(error, "search") from error


_SETTINGS = TypeAdapter(TrainSettings)


def _with_value(settings: Any, path: Sequence[str], name: str, value: Any) -> Any:
    first, *rest = path
    known = [field.name for field in fields(settings)]
    if first not in known or (rest and not is_dataclass(getattr(settings, first))):
        raise unknown_name("setting", name, known)
    changed = _with_value(getattr(settings, first), rest, name, value) if rest else value
    return replace(settings, **{first: changed})


def _is_whole(name: str) -> bool:
    value: Any = TrainSettings()
    for part in name.split("."):
        value = getattr(value, part)
    return isinstance(value, int)


def command_line(settings: TrainSettings) -> str:
    """Returns the ``hetgym train`` command that trains with these settings."""
    return shlex.join(["hetgym", "train", *_options(settings, TrainSettings(), "--")])


def _options(settings: Any, default: Any, prefix: str) -> Iterator[str]:
    for field in fields(settings):
        value, usual = getattr(settings, field.name), getattr(default, field.name)
        option = prefix + field.name.replace("_", "-")
        if is_dataclass(value):
            yield from _options(value, usual, f"{option}.")
        elif value == usual:
            continue
        elif isinstance(value, bool):
            yield option if value else f"{prefix}no-{field.name.replace('_', '-')}"
        elif isinstance(value, tuple):
            yield from (option, *map(str, value))
        else:
            yield from (option, str(value))
