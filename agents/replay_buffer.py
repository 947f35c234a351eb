"""Experience replay without padding: what a network read when it decided, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium import spaces
from numpy.typing import NDArray
from stable_baselines3.common.buffers import DictReplayBuffer
from stable_baselines3.common.vec_env import VecNormalize
from torch import Tensor

from .learner import part
from .networks import CandidateBatch
from .networks.batch import ABSENT, Graphs, consecutive


class Transitions(NamedTuple):
    """B decisions and what came of them.

    Attributes:
        states: What was decided on.
        actions: int64 (B,).
        rewards: float32 (B,).
        next_states: What the decisions led to; after the end of an episode anything, as nothing follows.
        dones: float32 (B,), 1 where an episode ended, but not where it was cut short.
        entropies: float32 (B,), in nats, of the distributions that the actions were drawn from.
    """

    states: CandidateBatch
    actions: Tensor
    rewards: Tensor
    next_states: CandidateBatch
    dones: Tensor
    entropies: Tensor


class CandidateReplayBuffer(DictReplayBuffer):
    """SB3's replay buffer, with a `SituationRing` in place of observations.

    Masks are in it: of a state and of the next one only the allowed candidates are kept. A state that follows one
    decision and precedes another is kept once.
    """

    def __init__(
        self,
        buffer_size: int,
        observation_space: spaces.Space[Any],
        action_space: spaces.Space[Any],
        device: torch.device | str = "auto",
        n_envs: int = 1,
        optimize_memory_usage: bool = False,
    ) -> None:
        """Makes room for decisions; room for situations is made as they come.

        Args:
            buffer_size: Decisions of all environments together.
            observation_space: Not read, as no observations are kept.
            action_space: Discrete, one action a candidate.
            device: Where samples are needed.
            n_envs: Environments side by side.
            optimize_memory_usage: Not supported, like in the parent.
        """
        super().__init__(buffer_size, spaces.Dict(), action_space, device, n_envs, optimize_memory_usage)
        self._state_number = np.zeros(self.buffer_size, np.int64)
        self._next_number = np.zeros(self.buffer_size, np.int64)
        self.entropies = np.zeros((self.buffer_size, n_envs), np.float32)
        self.reset()

    def reset(self) -> None:
        """Forgets everything."""
        super().reset()
        self._situations = SituationRing()
        self._last: CandidateBatch | None = None

    def add(  # type: ignore[override]
        self,
        states: CandidateBatch,
        next_states: CandidateBatch,
        action: NDArray[np.int64],
        reward: NDArray[np.float32],
        done: NDArray[np.bool_],
        infos: list[dict[str, Any]],
        entropy: NDArray[np.float32],
    ) -> None:
        """Keeps a step of all environments in place of the oldest.

        Args:
            states: What was decided on, one situation an environment; if these are the last step's ``next_states``,
                they are not kept again.
            next_states: What the decisions led to. Where an episode was cut short, its last state; where one ended,
                anything.
            action: (n_envs,).
            reward: (n_envs,).
            done: (n_envs,), where an episode ended or was cut short.
            infos: One an environment; ``TimeLimit.truncated`` says that an episode was cut short.
            entropy: (n_envs,), in nats, of the distributions that the actions were drawn from.
        """
        step = self.pos
        if self._last is not None and _same(states, self._last):
            self._state_number[step] = self._situations.end - self.n_envs
        else:
            self._state_number[step] = self._situations.append(states)
        self._next_number[step] = self._situations.append(next_states)
        self._last = next_states
        self.entropies[step] = entropy
        super().add({}, {}, action, reward, done, infos)
        if self.full:
            self._situations.forget(int(self._state_number[self.pos]))

    def _get_samples(  # type: ignore[override]
        self, batch_inds: NDArray[np.int64], env: VecNormalize | None = None
    ) -> Transitions:
        environment = np.random.randint(self.n_envs, size=len(batch_inds))  # noqa: NPY002 (like the parent)
        chosen = batch_inds, environment
        return Transitions(
            self._situations.take(self._state_number[batch_inds] + environment),
            self.to_torch(self.actions[chosen].squeeze(1)),
            self.to_torch(self._normalize_reward(self.rewards[chosen], env)),
            self._situations.take(self._next_number[batch_inds] + environment),
            self.to_torch(self.dones[chosen] * (1 - self.timeouts[chosen])),
            self.to_torch(self.entropies[chosen]),
        )

    def _arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "actions": self.actions,
            "rewards": self.rewards,
            "dones": self.dones,
            "timeouts": self.timeouts,
            "entropies": self.entropies,
            "state_number": self._state_number,
            "next_number": self._next_number,
        }

    def state(self) -> dict[str, Tensor]:
        """Returns copies of all that it holds."""
        state = {name: torch.from_numpy(array[: self.size()].copy()) for name, array in self._arrays().items()}
        state["position"] = torch.tensor([self.pos, self.full])
        return state | {f"situations.{name}": tensor for name, tensor in self._situations.state().items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Takes over what `state` gave for a buffer of the same size."""
        self.reset()
        position, full = state["position"].tolist()
        self.pos, self.full = position, bool(full)
        for name, array in self._arrays().items():
            array[: self.size()] = state[name].numpy()
        self._situations.load_state(part(state, "situations"), self.device)
        self._last = self._situations.take(np.arange(self._situations.end - self.n_envs, self._situations.end))


class SituationRing:
    """Situations numbered from 0 on, of which the oldest are forgotten.

    Situations, candidates, nodes and edges lie in rings of their own; each situation knows where its parts are.
    """

    def __init__(self) -> None:
        """Begins empty."""
        self._rings = {name: _Ring() for name in ("situations", "candidates", "nodes", "edges")}

    @property
    def end(self) -> int:
        """The number of the next situation."""
        return self._rings["situations"].end

    def append(self, batch: CandidateBatch) -> int:
        """Keeps the situations of a batch, and returns the number of the first."""
        number, situations = self.end, {"context": batch.context}
        for name, (counts, rows) in _parts(batch).items():
            situations[f"num_{name}"] = counts
            situations[f"first_{name}"] = self._rings[name].end + counts.cumsum(0) - counts
            self._rings[name].append(rows)
        self._rings["situations"].append(situations)
        return number

    def forget(self, before: int) -> None:
        """Forgets the situations before a number that is still kept."""
        situations = self._rings["situations"]
        oldest = situations.take(torch.tensor([before], device=situations.device))
        situations.first = before
        for name, ring in self._rings.items():
            if f"first_{name}" in oldest:
                ring.first = int(oldest[f"first_{name}"])

    def take(self, numbers: NDArray[np.int64]) -> CandidateBatch:
        """Returns the situations of some numbers, in the order given."""
        situations = self._rings["situations"]
        rows = situations.take(torch.as_tensor(numbers, device=situations.device))
        for name, ring in self._rings.items():
            if f"first_{name}" in rows:
                rows |= ring.take(consecutive(rows[f"first_{name}"], rows[f"num_{name}"]))
        return _joined(rows)

    def state(self) -> dict[str, Tensor]:
        """Returns copies of all that it holds."""
        return {f"{name}.{key}": rows for name, ring in self._rings.items() for key, rows in ring.state().items()}

    def load_state(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        """Takes over what `state` gave."""
        for name, ring in self._rings.items():
            ring.load_state(part(state, name), device)


class _Ring:
    """Rows of named tensors, numbered from 0 on; those from `first` on are kept. Room doubles when it is too little.

    Attributes:
        first: The oldest row that is kept.
        end: The number of the next row.
    """

    def __init__(self) -> None:
        self.first = self.end = 0
        self._size = 0
        self._tensors: dict[str, Tensor] = {}

    @property
    def device(self) -> torch.device:
        return next(iter(self._tensors.values())).device

    def append(self, rows: Mapping[str, Tensor]) -> None:
        added = len(next(iter(rows.values())))
        if not self._tensors or self.end + added - self.first > self._size:
            kept = self._kept()
            self._make_room(rows, self.end + added - self.first)
            self._put(self.first, kept)
        self._put(self.end, rows)
        self.end += added

    def _kept(self) -> dict[str, Tensor]:
        return self.take(torch.arange(self.first, self.end, device=self.device)) if self._tensors else {}

    def _make_room(self, like: Mapping[str, Tensor], needed: int) -> None:
        self._size = 1 << max(needed - 1, 0).bit_length()
        self._tensors = {name: rows.new_zeros(self._size, *rows.shape[1:]) for name, rows in like.items()}

    def _put(self, first: int, rows: Mapping[str, Tensor]) -> None:
        for name, tensor in rows.items():
            places = torch.arange(first, first + len(tensor), device=tensor.device) % self._size
            self._tensors[name][places] = tensor

    def take(self, numbers: Tensor) -> dict[str, Tensor]:
        places = numbers % self._size
        return {name: tensor.index_select(0, places) for name, tensor in self._tensors.items()}

    def state(self) -> dict[str, Tensor]:
        return {"range": torch.tensor([self.first, self.end])} | self._kept()

    def load_state(self, state: Mapping[str, Tensor], device: torch.device) -> None:
        self.first, self.end = state["range"].tolist()
        kept = {name: tensor.to(device) for name, tensor in state.items() if name != "range"}
        self._make_room(kept, self.end - self.first)
        self._put(self.first, kept)


def _parts(batch: CandidateBatch) -> dict[str, tuple[Tensor, dict[str, Tensor]]]:
    """Returns how many candidates, nodes and edges each situation has, and their rows, numbered in the situation."""
    candidates = {"candidates": batch.candidates, "action": batch.action.int()}
    parts = {"candidates": (batch.num_candidates, candidates)}
    if batch.graphs is not None:
        graphs = batch.graphs
        first = graphs.num_nodes.cumsum(0) - graphs.num_nodes
        candidates["spoken_of"] = _shifted(graphs.spoken_of, -first[batch.situation]).int()
        edges = graphs.edges.T - torch.repeat_interleave(first, graphs.num_edges).unsqueeze(1)
        parts["nodes"] = (
            graphs.num_nodes,
            {
                "nodes": graphs.nodes,
                "away": graphs.away.int(),
                "jobs": graphs.jobs.int(),
            },
        )
        parts["edges"] = graphs.num_edges, {"edges": edges.int(), "edge_features": graphs.edge_features}
    return parts


def _joined(rows: Mapping[str, Tensor]) -> CandidateBatch:
    """Returns the batch whose situations and `_parts` are given."""
    counts, graphs = rows["num_candidates"], None
    if "nodes" in rows:
        num_nodes, num_edges = rows["num_nodes"], rows["num_edges"]
        first = num_nodes.cumsum(0) - num_nodes
        graphs = Graphs(
            rows["nodes"],
            rows["away"].long(),
            rows["edges"].long().T + torch.repeat_interleave(first, num_edges),
            rows["edge_features"],
            rows["jobs"].long(),
            _shifted(rows["spoken_of"].long(), torch.repeat_interleave(first, counts)),
            num_nodes,
            num_edges,
        )
    return CandidateBatch(rows["context"], rows["candidates"], rows["action"].long(), counts, graphs)


def _same(one: CandidateBatch | Graphs, other: CandidateBatch | Graphs) -> bool:
    if one is other:
        return True
    pairs = [(getattr(one, field.name), getattr(other, field.name)) for field in fields(one)]
    return all(torch.equal(a, b) if isinstance(a, Tensor) else a is b or _same(a, b) for a, b in pairs)


def _shifted(spoken_of: Tensor, by: Tensor) -> Tensor:
    return torch.where(spoken_of == ABSENT, ABSENT, spoken_of + by.unsqueeze(1))
