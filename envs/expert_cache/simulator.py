"""The compiled simulator of expert caching: many caches decided side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ...compilation import hold
from ...errors import HetgymError
from ..core.simulator import Simulator, first_places, observation_space
from .advance import NOTHING, advance, begin
from .bounds import stall_lower_bound
from .features import SCHEMA, num_candidates
from .instance import ENTRY, EVENT, Instance, IntArray
from .rules import Items, Rules
from .state import INTERVALS, MISS, State, View, World
from .timeline import COLUMNS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

LOG_ROOM, LOG_ROOM_OF_MANY = 1 << 20, 1 << 10
"""Intervals that are remembered of a single episode, and of each of several side by side: so many are enough for a
picture, and stay in the processor's cache. The oldest are forgotten first."""


class RoutingSource(Protocol):
    """Where the episodes come from.

    Attributes:
        varies: Whether every episode has routing of its own.
        top_k: Experts that a token uses.
    """

    @property
    def varies(self) -> bool: ...  # noqa: D102 (said above)

    @property
    def top_k(self) -> int: ...  # noqa: D102 (said above)

    def layer_of(self, seed: int, episode: int) -> int | None:
        """Returns the layer that an episode plays; None for all."""

    def instance(self, seed: int, episode: int) -> Instance:
        """Returns the instance of an episode."""

    def window(self, instance: Instance, seed: int, episode: int) -> tuple[int, int]:
        """Returns the first event of an episode in an instance, and the end."""

    def latent(self, instance: Instance, seed: int) -> NDArray[np.float32]:
        """Returns what `latent.expected_uses` does, of an instance that was drawn; raises if it was not generated."""

    def accept(self, problem: Any) -> Instance:
        """Returns a given trace or instance as an instance; raises if it is not right."""


class ExpertCacheSimulator(Simulator):
    """Plays routing traces through a cache of experts, one decision a step.

    Attributes:
        items: What can be held.
        rules: How episodes are played.
        state: Where the episodes stand.
    """

    schema = SCHEMA

    def __init__(self, source: RoutingSource, items: Items, rules: Rules, num_envs: int, pool: int = 1) -> None:
        """Makes room for B episodes.

        Args:
            source: Where they come from.
            items: What can be held.
            rules: How they are played.
            num_envs: B.
            pool: Traces that each environment draws before they come round again.
        """
        candidates = num_candidates(rules.shown)
        super().__init__(num_envs, observation_space(SCHEMA, candidates, 0, 0), candidates)
        self.items, self.rules = items, rules
        self._source = source
        self._pool = pool
        if source.varies:
            self._num_drawn = num_envs * pool
        else:
            self._num_drawn = items.num_layers if rules.pool == "layer" else 1
        self._num_slots = self._num_drawn + num_envs
        self._instances: dict[int, Instance] = {}
        self._drawn_seed = np.full(self._num_drawn, -1, np.int64)
        self._all_rows = np.arange(num_envs)
        self._law = rules.law(items, source.top_k)
        self.logs = True
        self.state = State.empty(num_envs, items, rules, source.top_k, LOG_ROOM if num_envs == 1 else LOG_ROOM_OF_MANY)
        self._views = [View.of(buffer) for buffer in self.buffers]
        self._make_room(0, 0, (0, 0))

    def _make_room(self, num_events: int, num_entries: int, predictions: tuple[int, int]) -> None:
        """Makes arrays for the instances in play, as long as the longest of them."""
        self._events = np.zeros((self._num_slots, num_events + 1), EVENT)
        self._entries = np.zeros((self._num_slots, num_entries), ENTRY)
        self._predicted = np.full((self._num_slots, num_events if predictions[0] else 0, *predictions), -1, np.int32)
        worlds = [
            World(
                self._events, self._entries, self._predicted, self.items.kind, self.items.kinds, self._law, self.state,
                self.outcome, view,
            )
            for view in self._views
        ]  # fmt: skip
        self._handles = [hold(world) for world in worlds]
        for slot, instance in self._instances.items():
            self._write(slot, instance)

    def _write(self, slot: int, instance: Instance) -> None:
        self._events[slot, : len(instance.events)] = instance.events
        self._entries[slot, : len(instance.entries)] = instance.entries
        _, distances, width = instance.predicted.shape
        if distances:
            self._predicted[slot] = -1
            self._predicted[slot, : instance.num_events, :distances, :width] = instance.predicted

    def _put(self, slot: int, instance: Instance) -> None:
        """Makes a slot hold an instance."""
        self._instances[slot] = instance
        events, entries = self._events.shape[1] - 1, self._entries.shape[1]
        shown = self._predicted.shape[2:]
        wanted = instance.predicted.shape[1:]
        predictions = (max(shown[0], wanted[0]), max(shown[1], wanted[1]))
        if instance.num_events > events or len(instance.entries) > entries or predictions != shown:
            self._make_room(
                max(events, _with_slack(instance.num_events)),
                max(entries, _with_slack(len(instance.entries))),
                predictions,
            )
        else:
            self._write(slot, instance)

    @property
    def logs(self) -> bool:
        """Whether the intervals of the timeline are written down; replays are faster without."""
        return bool(self._law["logs"][0])

    @logs.setter
    def logs(self, logs: bool) -> None:
        self._law["logs"] = logs

    @property
    def handle(self) -> Any:
        """What compiled policies read: a handle of the `World`."""
        return self._handles[self._current]

    def _accept(self, instances: Sequence[Any] | None) -> list[Instance] | None:
        return None if instances is None else [self._source.accept(problem) for problem in instances]

    def _begin(self, rows: IntArray, instances: Sequence[Any] | None) -> None:
        for position, row in enumerate(rows.tolist()):
            if instances is None:
                self._draw(row)
            else:
                self._play(row, self._num_drawn + row, instances[position], None)
        begin(self.handle, rows)
        advance(self.handle, rows, np.full(rows.size, NOTHING), True)

    def _draw(self, row: int) -> None:
        """Makes an environment play what its seed and episode give."""
        seed, episode = int(self.seeds[row]), int(self.episodes[row])
        if self._source.varies:
            episode %= self._pool
            slot, wanted = row * self._pool + episode, seed
        else:
            slot, wanted = self._source.layer_of(seed, episode) or 0, 0
        if self._drawn_seed[slot] != wanted:
            self._put(slot, self._source.instance(seed, episode))
            self._drawn_seed[slot] = wanted
        instance = self._instances[slot]
        self._play(row, slot, instance, self._source.window(instance, seed, int(self.episodes[row])))

    def _play(self, row: int, slot: int, instance: Instance, window: tuple[int, int] | None) -> None:
        if window is None:
            self._put(slot, instance)
            window = 0, instance.num_events
        status = self.state.status[row]
        status["seed"], status["episode"], status["slot"] = self.seeds[row], self.episodes[row], slot
        status["first_event"], status["end_event"] = window
        status["unit"] = instance.unit

    def _advance(self, actions: IntArray) -> int:
        noteworthy: int = advance(self.handle, self._all_rows, actions, self.observes)
        return noteworthy

    def instance(self, row: int) -> Instance:
        """Returns the instance that an episode plays, or of which it plays some batches."""
        return self._instances[int(self.state.status["slot"][row])]

    def stall_lower_bound(self, row: int) -> float:
        """Returns a lower bound on the stall of an episode, whatever is decided, seconds: `bounds.stall_lower_bound`.

        Raises:
            HetgymError: If it is decided how misses are served.
        """
        status = self.state.status[row]
        window = int(status["first_event"]), int(status["end_event"])
        return stall_lower_bound(self.instance(row), self.rules, window)

    def latent(self, row: int) -> NDArray[np.float32]:
        """Returns what the state of the routers that an episode's trace was drawn from tells of uses to come.

        Returns:
            float32 (steps, N): how likely each item is to be used after each step; `latent.expected_uses`.

        Raises:
            HetgymError: If the episode's routing was not generated.
        """
        if int(self.state.status["slot"][row]) >= self._num_drawn:
            raise HetgymError(
                "instance: what routers are likely to choose is known of drawn episodes, not of given ones"
            )
        return self._source.latent(self.instance(row), int(self.seeds[row]))

    def name_item(self, items: IntArray) -> IntArray:
        """Returns actions that name victims, or what to fetch early, directly, shown or not.

        Args:
            items: int64 (B,).
        """
        return self.num_candidates + items

    def _candidates_named(self, names: IntArray) -> IntArray:
        shown = np.where(self.state.status["kind"] == MISS, 0, self._views[self._current].rows - 1)
        places = first_places(self.state.targets, shown, names)
        return np.where(places >= 0, places + 1, -1)

    def state_arrays(self) -> Mapping[str, NDArray[Any]]:
        """Returns the state, the seeds and what the last step gave."""
        if any(int(slot) >= self._num_drawn for slot in self.state.status["slot"]):
            raise HetgymError("episodes that play given instances cannot be saved")
        return {"seeds": self.seeds, "episodes": self.episodes, "outcome": self.outcome, **self.state._asdict()}

    def load_state_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Continues from arrays that `state_arrays` gave."""
        self.seeds[:] = arrays["seeds"]
        self.episodes[:] = arrays["episodes"]
        for row in range(self.num_envs):
            self._draw(row)
        self._begun = True
        self.outcome[...] = arrays["outcome"]
        for name, array in self.state._asdict().items():
            array[...] = arrays[name]
        advance(self.handle, self._all_rows, np.full(self.num_envs, NOTHING), True)

    def metrics(self, rows: IntArray) -> dict[str, NDArray[np.float64]]:
        """Returns what the docstring of the environment lists."""
        status = self.state.status[rows]
        entries = status["entries"].astype(np.float64)
        layers = self.items.num_layers if self.rules.pool == "layer" else 1
        decodes = status["decode_steps"] > 0
        tokens = np.where(decodes, status["decode_tokens"], status["prefill_tokens"])
        seconds = layers * np.where(decodes, status["decode_seconds"], status["prefill_seconds"])
        served = status["hits"] + status["late"]
        with np.errstate(invalid="ignore"):
            return {
                "hit_rate": status["hits"] / entries,
                "stall": status["stall"],
                "tokens_per_second": tokens / np.maximum(seconds, 1e-300),
                "time_per_output_token": layers * status["decode_seconds"] / status["decode_steps"],
                "time_to_first_token": layers * status["prefill_seconds"] / status["prefilled"],
                "bytes_moved": status["bytes_moved"].astype(np.float64),
                "uploads": status["uploads"].astype(np.float64),
                "misses": entries - served,
                "late": status["late"].astype(np.float64),
                "on_cpu": status["by_cpu"].astype(np.float64),
                "skipped": status["skipped"].astype(np.float64),
                "at_low": status["at_low"].astype(np.float64),
                "prefetch_precision": status["prefetches_used"] / status["prefetches"].astype(np.float64),
                "precision_loss": status["price"] / (status["event"] - status["first_event"]),
                "seconds": status["end"].copy(),
            }

    def episode(self, row: int) -> pd.DataFrame:
        """Returns the timeline so far, or its last intervals, one row each; `timeline` says what there is."""
        import pandas as pd

        log, length = self.state.log[row], int(self.state.status["log_length"][row])
        room = max(len(log), 1)
        order = np.arange(max(length - room, 0), length) % room
        kept = log[order]
        lanes, whats = (np.array(words) for words in zip(*INTERVALS, strict=True))
        columns = {
            "lane": lanes[kept["interval"]],
            "event": kept["event"].astype(np.int64) - int(self.state.status["first_event"][row]),
            "item": kept["item"].astype(np.int64),
            "begin": kept["begin"],
            "end": kept["end"],
            "what": whats[kept["interval"]],
            "bytes": kept["bytes"],
            "buffer": kept["buffer"].astype(np.int64),
        }
        return pd.DataFrame({name: columns[name] for name in COLUMNS})

    def bars(self, row: int) -> pd.DataFrame:
        """Returns a bar for each interval of the link, the device and the CPU; groups are what it is."""
        from .render import bars

        return bars(self.episode(row))

    def figure(self, row: int) -> Figure:
        """Returns a picture of the timeline so far."""
        from .render import timeline

        return timeline(self.episode(row), self.instance(row))


def _with_slack(length: int) -> int:
    """Returns room for a little more than was wanted: episodes of one law differ in length."""
    return length + length // 8
