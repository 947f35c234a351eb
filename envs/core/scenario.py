"""Scenarios: named, complete problem settings, loaded from YAML."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from ...errors import HetgymError, one_line, read_yaml, unknown_name
from .simulator import Simulator

_FAMILIES: dict[str, type[Scenario]] = {}
_READERS: dict[str, Callable[[Path], Scenario]] = {}

S = TypeVar("S", bound="Scenario")

ENVS = Path(__file__).parent.parent


class Scenario(BaseModel, ABC):
    """A complete problem setting; every family has a subclass.

    Attributes:
        name: Lower-case with hyphens.
        family: Lower-case with hyphens.
        description: One sentence.
        source: Where the setting comes from.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: str
    description: str = ""
    source: str = ""

    @abstractmethod
    def simulator(self, num_envs: int, reward: str | None = None) -> Simulator:
        """Returns a simulator of so many episodes side by side.

        Args:
            num_envs: B.
            reward: One of the family's rewards; its first by default.
        """

    def for_single_episodes(self) -> Self:
        """Returns the scenario without room for more than the first episode of each seed."""
        return self

    @abstractmethod
    def sections(self) -> tuple[tuple[str, ...], ...]:
        """Returns the paths of fields that hold settings of their own, which overrides may name directly."""

    @property
    @abstractmethod
    def baselines(self) -> tuple[str, ...]:
        """Names of the policies that a new one should be compared with; the strongest known are among them."""

    @property
    @abstractmethod
    def metric(self) -> str:
        """The metric that policies are compared by."""

    @property
    def more_is_better(self) -> frozenset[str]:
        """Of which metrics more is better; of all others less is."""
        return frozenset()

    @property
    def objectives(self) -> tuple[str, ...]:
        """Metrics that are traded for each other, ``..._cost`` of which less is better; none for one objective."""
        return ()

    @property
    def bounds(self) -> Mapping[str, str]:
        """Of which metrics another one is a lower bound, which no policy can be below."""
        return {}

    @property
    def reference(self) -> str:
        """The policy that others are compared with, where it is played."""
        return self.baselines[0]

    def override(self, /, **changes: Any) -> Self:
        """Returns the scenario with some settings changed.

        Args:
            changes: Fields of the scenario, or of one of its sections (``num_tasks=50``).

        Raises:
            HetgymError: If there is no such field, or the value is not right for it.
        """
        if not changes:
            return self
        content = self.model_dump()
        known = {field: content for field in type(self).model_fields if field not in ("name", "family")}
        for path in self.sections():
            settings, place = self, content
            for section in path:
                settings, place = getattr(settings, section), place[section]
            known |= {field: place for field in type(settings).model_fields if field != "kind"}
        for field, value in changes.items():
            if field not in known:
                raise unknown_name(f"setting of scenario {self.name!r}:", field, sorted(known))
            known[field][field] = value
        return _validated(type(self), content, f"scenario {self.name!r}")


def register_family(name: str, scenario: type[Scenario], readers: dict[str, Callable[[Path], Scenario]]) -> None:
    """Makes a family known to `load_scenario`.

    Args:
        name: Lower-case with hyphens.
        scenario: Its scenario class.
        readers: For file suffixes other than YAML, what makes a scenario of such a file.
    """
    _FAMILIES[name] = scenario
    _READERS.update(readers)


def list_scenarios() -> dict[str, Path]:
    """Returns the file of every scenario that comes with hetgym, by name."""
    return {path.stem: path for path in sorted(ENVS.glob("*/scenarios/*.yaml"))}


def load_scenario(scenario: str | Path | Scenario, /, **overrides: Any) -> Scenario:
    """Returns a scenario by name, from a file, or as it is.

    Args:
        scenario: A name from `list_scenarios`, a path to a YAML scenario or to a WfFormat workflow (``.json``), or
            a scenario.
        overrides: As in `Scenario.override`.

    Raises:
        HetgymError: If there is no such scenario, or the file is not right.
    """
    if isinstance(scenario, Scenario):
        return scenario.override(**overrides)
    path = Path(scenario)
    known = list_scenarios()
    if path.suffix in _READERS:
        return _READERS[path.suffix](path).override(**overrides)
    if path.suffix not in {".yaml", ".yml"}:
        if str(scenario) not in known:
            raise unknown_name("scenario", str(scenario), [*known, "a path to a .yaml or .json file"])
        path = known[str(scenario)]
    return _read_yaml(path).override(**overrides)


def _read_yaml(path: Path) -> Scenario:
    content = read_yaml(path, "scenario")
    family = content.get("family") if isinstance(content, dict) else None
    if not isinstance(family, str) or family not in _FAMILIES:
        raise HetgymError(f"{path}: family: must be one of {', '.join(_FAMILIES)} (given: {family!r})")
    return _validated(_FAMILIES[family], content, str(path), path.parent)


def _validated(kind: type[S], content: dict[str, Any], where: str, folder: Path | None = None) -> S:
    try:
        return kind.model_validate(content, context={"folder": folder or Path()})
    except ValidationError as error:
        raise one_line(error, where) from error
