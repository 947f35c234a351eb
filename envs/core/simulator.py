"""The batched simulator that every family implements, and the shape of what it shows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium import spaces
from numpy.typing import ArrayLike, NDArray

from ...errors import HetgymError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Arrays = dict[str, NDArray[Any]]

_INT64 = np.dtype(np.int64)

CLIP = 10.0
"""Features are clipped to [-CLIP, CLIP]."""


@dataclass(frozen=True)
class Feature:
    """One number of an observation.

    Attributes:
        name: Unique within its array.
        meaning: What it is, with its unit before normalisation, and how it is normalised.
    """

    name: str
    meaning: str


@dataclass(frozen=True)
class ObservationSchema:
    """What the columns of an observation mean. It excludes sizes: policies of equal schema are interchangeable.

    Attributes:
        candidates: Columns of ``candidates``, Fc of them.
        context: Entries of ``context``, Fg of them.
        nodes: Columns of ``nodes``, Fn of them; empty for families without a graph.
        edge_features: Columns of ``edge_features``, Fe of them.
        nodes_per_candidate: How many nodes each candidate speaks of, m.
        settled: Name of the node feature that is 1 for nodes about which nothing more is decided, if there is one.
    """

    candidates: tuple[Feature, ...]
    context: tuple[Feature, ...]
    nodes: tuple[Feature, ...] = ()
    edge_features: tuple[Feature, ...] = ()
    nodes_per_candidate: int = 0
    settled: str = ""

    def names(self) -> dict[str, list[str]]:
        """Returns the feature names of each array."""
        return {
            "candidates": [feature.name for feature in self.candidates],
            "context": [feature.name for feature in self.context],
            "nodes": [feature.name for feature in self.nodes],
            "edge_features": [feature.name for feature in self.edge_features],
        }


def observation_space(schema: ObservationSchema, num_candidates: int, num_nodes: int, num_edges: int) -> spaces.Dict:
    """Returns the space of one environment's observation.

    Args:
        schema: What the columns are.
        num_candidates: A, possible actions.
        num_nodes: N, the most nodes an instance has.
        num_edges: E, the most edges an instance has.
    """

    def features(*shape: int) -> spaces.Box:
        return spaces.Box(-CLIP, CLIP, shape, np.float32)

    shown: dict[str, spaces.Space[Any]] = {
        "candidates": features(num_candidates, len(schema.candidates)),
        "action_mask": spaces.Box(0, 1, (num_candidates,), np.int8),
        "context": features(len(schema.context)),
    }
    if schema.nodes:
        shown |= {
            "nodes": features(num_nodes, len(schema.nodes)),
            "node_jobs": spaces.Box(0, num_nodes, (num_nodes,), np.int32),
            "edges": spaces.Box(0, num_nodes - 1, (2, num_edges), np.int32),
            "edge_features": features(num_edges, len(schema.edge_features)),
            "counts": spaces.Box(0, np.array([num_nodes, num_edges], np.int32), (2,), np.int32),
            "candidate_nodes": spaces.Box(0, num_nodes, (num_candidates, schema.nodes_per_candidate), np.int32),
        }
    return spaces.Dict(shown)


OUTCOME = np.dtype(
    [
        ("reward", np.float64),
        ("terminated", np.bool_),
        ("invalid_action", np.bool_),  # a masked action was asked for, the lowest-index allowed one done
        ("discount", np.float64),  # of what follows; 1 but where a family discounts by time
        ("episode_return", np.float64),  # sum of rewards since the episode began
        ("episode_length", np.int64),  # decisions since the episode began
    ],
    align=True,
)
"""What the last step gave one episode; each family's kernel fills it."""


def bars_table(
    lane: Iterable[str],
    lanes: Sequence[str],
    begin: ArrayLike,
    end: ArrayLike,
    label: Iterable[str],
    group: Iterable[str],
) -> pd.DataFrame:
    """Returns what `Simulator.bars` does, without bars that take no time.

    Args:
        lane: Of each bar.
        lanes: All of them, in the order from top to bottom.
        begin: Of each bar, seconds.
        end: Of each bar, seconds.
        label: Of each bar.
        group: Of each bar.
    """
    import pandas as pd

    table = pd.DataFrame(
        {
            "lane": list(lane),
            "begin": np.asarray(begin, np.float64),
            "end": np.asarray(end, np.float64),
            "label": list(label),
            "group": list(group),
        }
    ).astype({"lane": pd.CategoricalDtype(list(lanes))})
    return table[table["end"] > table["begin"]].sort_values("begin", kind="stable", ignore_index=True)


def first_places(
    rows: NDArray[np.integer[Any]], lengths: NDArray[np.int64], wanted: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Returns where each row first holds a number, -1 where it does not, int64 (B,).

    Args:
        rows: int (B, W).
        lengths: int64 (B,), how many numbers each row holds.
        wanted: int64 (B,), the number that is looked for in each row.
    """
    held = (rows == wanted[:, np.newaxis]) & (np.arange(rows.shape[1]) < lengths[:, np.newaxis])
    return np.where(held.any(axis=1), held.argmax(axis=1), -1)


class Simulator(ABC):
    """A batch of episodes of one scenario, advanced together by compiled kernels.

    The observation is written into two sets of arrays in turn, so it stays valid for one further step. An
    episode that has ended stays as it is until `restart` begins its successor.

    Attributes:
        num_envs: Episodes side by side, B.
        single_observation_space: Space of one episode's observation.
        schema: What the columns of the observation mean.
        num_candidates: A, the number of candidates that an agent sees.
        single_action_space: Of one episode: one of the candidates, but where a family's face is continuous.
        seeds: int64 (B,), seed of each environment.
        episodes: int64 (B,), number of the episode that each environment plays, from 0.
        outcome: (B,) of `OUTCOME`, what the last step gave.
        observes: Whether observations are brought up to date; nobody looks at them where a heuristic decides.
    """

    schema: ObservationSchema
    observes: bool = True

    def __init__(
        self,
        num_envs: int,
        single_observation_space: spaces.Dict,
        num_candidates: int,
        single_action_space: spaces.Discrete | spaces.Box | None = None,
    ) -> None:
        """Makes room for B episodes; `reset` begins them."""
        self.num_envs = num_envs
        self.single_observation_space = single_observation_space
        self.num_candidates = num_candidates
        self.single_action_space = single_action_space or spaces.Discrete(num_candidates)
        self._action_shape = (num_envs, *(self.single_action_space.shape or ()))
        self.seeds = np.zeros(num_envs, np.int64)
        self.episodes = np.zeros(num_envs, np.int64)
        self.outcome = np.zeros(num_envs, OUTCOME)
        self.outcome["discount"] = 1.0
        self.buffers: tuple[Arrays, Arrays] = (self._buffer(), self._buffer())
        self._current = 0
        self._begun = False

    def _buffer(self) -> Arrays:
        return {
            name: np.zeros((self.num_envs, *(space.shape or ())), space.dtype)
            for name, space in self.single_observation_space.items()
        }

    @property
    def observation(self) -> Arrays:
        """The live arrays of the current observation, (B, ...) each."""
        return self.buffers[self._current]

    def reset(self, seeds: Sequence[int] | NDArray[np.int64], instances: Sequence[Any] | None = None) -> None:
        """Begins episode 0 of every environment.

        Args:
            seeds: One for each environment, zero or more.
            instances: Instances to play instead of those of the seeds, one for each environment.

        Raises:
            HetgymError: If a seed is negative, or there are not as many as environments.
        """
        given = np.asarray(seeds)
        if given.shape != (self.num_envs,) or given.dtype.kind not in "iu" or (given < 0).any():
            raise HetgymError(f"seed: must be {self.num_envs} integers, zero or more (given: {seeds})")
        accepted = self._accept(instances)
        self.seeds[:] = given
        self.episodes[:] = 0
        self._begin_all(accepted)

    def reset_to_next(self, instances: Sequence[Any] | None = None) -> None:
        """Begins the next episode of every environment.

        Args:
            instances: Instances to play instead of those of the seeds, one for each environment.
        """
        accepted = self._accept(instances)
        self.episodes += 1
        self._begin_all(accepted)

    def _begin_all(self, instances: Sequence[Any] | None) -> None:
        # The other buffer: what was last shown stays valid.
        self._current = 1 - self._current
        self._begun = True
        self._begin(np.arange(self.num_envs), instances)

    def restart(self, rows: NDArray[np.int64]) -> None:
        """Begins the next episode of environments whose episode has ended, in place of its last observation.

        Args:
            rows: Which environments.
        """
        self.episodes[rows] += 1
        self._begin(rows, None)

    def step(self, actions: NDArray[Any]) -> int:
        """Takes one decision in every environment whose episode goes on.

        Returns how many episodes have ended or were asked for what is not allowed.

        Args:
            actions: int64 (B,), candidates, or what the family's ``name_action`` returned; in a continuous face
                float (B, ...), clipped to its Box.

        Raises:
            HetgymError: If there are not as many integers (finite numbers) as environments, or no episode has begun.
        """
        if not (isinstance(actions, np.ndarray) and actions.dtype is _INT64 and actions.shape == self._action_shape):
            actions = self._checked(actions)
        if not self._begun:
            raise HetgymError("step: no episode has begun; call reset first")
        self._current = 1 - self._current
        return self._advance(actions)

    def _checked(self, actions: Any) -> NDArray[Any]:
        actions = np.asarray(actions)
        if isinstance(self.single_action_space, spaces.Box):
            return self._clipped(actions, self.single_action_space)
        if actions.shape != self._action_shape or actions.dtype.kind not in "iu":
            raise HetgymError(
                f"actions: must be integers of the shape {self._action_shape}, not {actions.dtype} {actions.shape}"
            )
        checked: NDArray[np.int64] = actions.astype(np.int64, copy=False)
        return checked

    def _clipped(self, actions: NDArray[Any], box: spaces.Box) -> NDArray[np.float64]:
        if actions.shape != self._action_shape or actions.dtype.kind not in "iuf" or not np.isfinite(actions).all():
            given = f"{actions.dtype} {actions.shape}"
            raise HetgymError(f"actions: must be finite numbers of the shape {self._action_shape}, not {given}")
        return np.clip(actions.astype(np.float64), box.low, box.high)

    def candidates_of(self, actions: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the candidates that actions mean, as the current observation shows them, int64 (B,).

        It is -1 where no candidate that is shown and allowed means the same, and the first of several that do.

        Args:
            actions: int64 (B,), candidates, or what the family's ``name_action`` returned.

        Raises:
            HetgymError: If there are not as many integers as environments.
        """
        actions = self._checked(actions)
        named = self._candidates_named(actions - self.num_candidates)
        candidates = np.where(actions < self.num_candidates, actions, named)
        shown = np.maximum(candidates, 0)
        allowed = self.observation["action_mask"][np.arange(self.num_envs), shown] > 0
        return np.where(allowed & (candidates >= 0), candidates, -1)

    def _candidates_named(self, names: NDArray[np.int64]) -> NDArray[np.int64]:
        """Returns the candidates that the numbers of directly named actions mean, -1 for none, int64 (B,)."""
        return np.full(self.num_envs, -1)

    def restore_rules(self) -> None:  # noqa: B027 (most families have nothing to restore)
        """Makes the episodes that have just begun go by the scenario's rules, where a policy's ``reset`` chose others.

        There is nothing to restore in families whose policies choose none.
        """

    @abstractmethod
    def _accept(self, instances: Sequence[Any] | None) -> Sequence[Any] | None:
        """Returns given instances as the family keeps them; raises before anything has changed if one is not right."""

    @abstractmethod
    def _begin(self, rows: NDArray[np.int64], instances: Sequence[Any] | None) -> None:
        """Begins the episodes that ``seeds`` and ``episodes`` name, and shows them in the current buffer."""

    @abstractmethod
    def _advance(self, actions: NDArray[Any]) -> int:
        """Takes the decisions, fills ``outcome``, shows the result in the current buffer; returns what `step` does."""

    @abstractmethod
    def state_arrays(self) -> Mapping[str, NDArray[Any]]:
        """Returns the arrays that, with the seeds, determine everything that follows (live, not copied)."""

    @abstractmethod
    def load_state_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continues from arrays that `state_arrays` gave for the same scenario and batch size."""

    @abstractmethod
    def metrics(self, rows: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
        """Returns the named numbers of some episodes, in SI units, float64 (rows,) each."""

    def metrics_of(self, row: int) -> dict[str, float]:
        """Returns the named numbers of one episode, in SI units."""
        return {name: float(values[0]) for name, values in self.metrics(np.array([row])).items()}

    @abstractmethod
    def episode(self, row: int) -> pd.DataFrame:
        """Returns what an episode has decided so far, as a table."""

    @abstractmethod
    def bars(self, row: int) -> pd.DataFrame:
        """Returns what an episode has done so far as bars over time, in a form that all families share.

        Returns:
            One row a bar, by their beginnings: ``lane`` (where it is drawn; categories in the order from top to
            bottom, those without bars as well), ``begin`` and ``end`` (seconds), ``label`` (what it is), ``group``
            (what has its colour).
        """

    @abstractmethod
    def figure(self, row: int) -> Figure:
        """Returns a picture of an episode."""
