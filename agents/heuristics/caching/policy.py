"""Cache policies: a rule for victims, one for prefetches and one for misses, together."""

from __future__ import annotations

from typing import Any

import numpy as np

from ....compilation import handle_kernel, hold, inner
from ....envs import Simulator
from ....envs.core.simulator import Arrays
from ....envs.expert_cache.serving import decide_prefetch, decide_victim, decide_way, run_on
from ....envs.expert_cache.simulator import ExpertCacheSimulator
from ....envs.expert_cache.state import MISS, NO_DECISION, PREFETCH, Episode, World, episode_at
from ....errors import HetgymError
from ...policy import Actions
from .automata import ALGORITHMS
from .desk import Desk, begin_following, follow
from .evictors import EVICTORS, followed_by, victim_of
from .predictors import LEARNERS
from .prefetchers import PREFETCHERS, target_of
from .ways import SERVERS, way_of

KNOWN = {"hottest": "uses", "belady": "uses", "belady-bypass": "uses", "latent": "routers", "pre-gated": "uses"}
"""What rules know that cannot be known: the uses to come, or the state of the routers that a trace was drawn from."""


class CachePolicy:
    """A rule for victims, one for prefetches and one for misses.

    Attributes:
        name: What it is called.
        clairvoyant: Whether one of the rules knows what cannot be known.
        reactive: Whether no rule follows an algorithm, which takes it that its own victims have gone.
    """

    observes = False

    def __init__(self, name: str, evict: str = "recency", prefetch: str = "none", miss: str = "load") -> None:
        """Chooses the rules.

        Args:
            name: What it is called.
            evict: One of `EVICTORS`.
            prefetch: One of `PREFETCHERS`; used where prefetches are decided.
            miss: One of `SERVERS`; used where it is decided how misses are served.
        """
        self.name = name
        self.clairvoyant = evict in KNOWN or prefetch in KNOWN
        self._algorithm = followed_by(evict)
        self.reactive = self._algorithm is None
        followed = ALGORITHMS.index(self._algorithm) if self._algorithm else -1
        self._codes = np.array([EVICTORS.index(evict), PREFETCHERS.index(prefetch), SERVERS.index(miss), followed])
        self._learner = prefetch if prefetch in LEARNERS else None
        self._knows = KNOWN.get(evict)

    def reset(self, simulator: Simulator) -> None:
        """Forgets earlier episodes.

        Raises:
            HetgymError: If the simulator is of another family.
        """
        caches = _caching(self.name, simulator)
        self._desk = hold(Desk.of(caches, self._algorithm, self._learner, self._knows))
        if self._algorithm:
            begin(caches.handle, self._desk, self._codes)

    def act(self, observation: Arrays, simulator: Simulator) -> Actions:
        """Returns what each episode does, int64 (B,)."""
        actions = np.empty(simulator.num_envs, np.int64)
        decide(_caching(self.name, simulator).handle, self._desk, self._codes, simulator.num_candidates, actions)
        return actions

    def replay(self, simulator: Simulator) -> None:
        """Plays the episodes that have begun to their ends at once, without observations.

        The simulator's metrics are then those of the whole episodes, as if its decisions had been taken one by one.

        Raises:
            HetgymError: If the simulator is of another family.
        """
        caches = _caching(self.name, simulator)
        self.reset(caches)
        replay(caches.handle, self._desk, self._codes)


def _caching(name: str, simulator: Simulator) -> ExpertCacheSimulator:
    if not isinstance(simulator, ExpertCacheSimulator):
        raise HetgymError(f"policy {name!r} manages a cache: it needs a scenario of the family expert-cache")
    return simulator


@handle_kernel
def begin(handle: Any, desk: Any, codes: Any) -> None:
    """Forgets what an algorithm knew.

    Args:
        handle: Of a `World`.
        desk: Of a `Desk`.
        codes: Of the rules for victims, prefetches and misses, and of the algorithm that is followed, -1 for none.
    """
    _begin(handle.value, desk.value, codes)


@inner
def _begin(world: World, desk: Desk, codes: Any) -> None:
    for b in range(world.outcome.size):
        begin_following(desk, episode_at(world, b), b, codes[3])


@inner
def _choose(world: World, desk: Desk, episode: Episode, b: int, codes: Any) -> int:
    """Returns the item or the way that the rules choose; -1 for no item."""
    kind = episode.status[0].kind
    if kind == MISS:
        return way_of(episode, codes[2])
    if kind == PREFETCH:
        if codes[3] >= 0:
            follow(desk, episode, b, codes[3])
        item = target_of(world, desk, episode, b, codes[1])
        desk.progress[b].pending = item
        return item
    return victim_of(desk, episode, b, codes[0])


@inner
def _decide(world: World, desk: Desk, codes: Any, num_candidates: int, actions: Any) -> None:
    for b in range(actions.size):
        episode = episode_at(world, b)
        status = episode.status[0]
        actions[b] = 0
        if not status.is_over:
            choice = _choose(world, desk, episode, b, codes)
            actions[b] = choice if status.kind == MISS else (num_candidates + choice if choice >= 0 else 0)


@handle_kernel
def decide(handle: Any, desk: Any, codes: Any, num_candidates: int, actions: Any) -> None:
    """Writes what each episode does.

    Args:
        handle: Of a `World`.
        desk: Of a `Desk`.
        codes: Of the rules for victims, prefetches and misses, and of the algorithm that is followed, -1 for none.
        num_candidates: A.
        actions: int64 (B,), written.
    """
    _decide(handle.value, desk.value, codes, num_candidates, actions)


@inner
def _replay(world: World, desk: Desk, codes: Any) -> None:
    for b in range(world.outcome.size):
        episode = episode_at(world, b)
        status = episode.status[0]
        run_on(episode)
        while not status.is_over:
            kind, choice = status.kind, _choose(world, desk, episode, b, codes)
            status.kind = NO_DECISION
            if kind == MISS:
                decide_way(episode, choice)
            elif kind == PREFETCH:
                decide_prefetch(episode, choice)
            else:
                decide_victim(episode, choice)
            run_on(episode)
        world.outcome[b].terminated = True


@handle_kernel
def replay(handle: Any, desk: Any, codes: Any) -> None:
    """Plays all episodes to their ends.

    Args:
        handle: Of a `World`.
        desk: Of a `Desk`.
        codes: Of the rules for victims, prefetches and misses, and of the algorithm that is followed, -1 for none.
    """
    _replay(handle.value, desk.value, codes)
