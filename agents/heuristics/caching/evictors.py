"""Which resident item goes to make room for another, by what the simulator records of each."""

from __future__ import annotations

import numpy as np

from ....compilation import inner, rare
from ....envs.expert_cache.state import Episode, is_evictable, oldest_evictable
from .automata import ALGORITHMS
from .desk import Desk, algorithms_victim, next_use

SCORED = ("recency", "frequency", "lfru", "least-stale", "hottest", "mrs", "belady", "belady-bypass")
"""Rules that evict the item of the least score, the least recently used of equals; their codes follow those of the
algorithms."""

EVICTORS = (*ALGORITHMS, *SCORED)

RECENCY, FREQUENCY, LFRU, LEAST_STALE, HOTTEST, MRS, BELADY, BELADY_BYPASS = range(len(ALGORITHMS), len(EVICTORS))


@inner
def count_in_prompt(episode: Episode, item: int) -> int:
    """Returns how many events of this prompt used an item."""
    place = episode.places[item]
    return int(place.count if place.prompt == episode.status[0].prompt else 0)


@inner
def score_of(desk: Desk, episode: Episode, b: int, code: int, item: int) -> float:
    """Returns how much an item is worth keeping.

    - ``frequency``: events of this prompt that used it.
    - ``lfru``: that / steps since its last use (arXiv:2608.07911).
    - ``least-stale``: whether this pass has touched it.
    - ``mrs``: router scores, those of a step counting half as much as the next step's (HybriMoE, arXiv:2504.05897,
      with alpha = 0.5; scores of experts that are not used are not recorded and count as 0).
    - ``belady``: minus the next event that uses it (Belady 1966, doi:10.1147/sj.52.0078).
    """
    place, step = episode.places[item], episode.status[0].step
    age = step - place.step
    if code == FREQUENCY:
        return float(count_in_prompt(episode, item))
    if code == LFRU:
        return count_in_prompt(episode, item) / max(age, 1)
    if code == LEAST_STALE:
        return 1.0 if age == 0 else 0.0
    if code == MRS:
        return float(place.score * 0.5 ** min(age, 1000))
    if code in (BELADY, BELADY_BYPASS):
        return -float(next_use(desk, episode, b, item))
    return 0.0


@inner
def victim_of(desk: Desk, episode: Episode, b: int, code: int) -> int:
    """Returns the item that a rule evicts, -1 to load past the pool."""
    if code == RECENCY:
        return oldest_evictable(episode, episode.status[0].pool, 0)
    if code < len(ALGORITHMS):
        return algorithms_victim(desk, episode, b, code)
    return _least_worth_keeping(desk, episode, b, code)


@rare
def _least_worth_keeping(desk: Desk, episode: Episode, b: int, code: int) -> int:
    status = episode.status[0]
    end = episode.law[0].num_items + status.pool
    best, least = -1, np.inf
    item = episode.places[end].next
    while item != end:
        if is_evictable(episode, item):
            score = score_of(desk, episode, b, code, item)
            if score < least:
                best, least = item, score
        item = episode.places[item].next
    if code == BELADY_BYPASS and score_of(desk, episode, b, code, status.incoming) <= least:
        return -1
    return int(best)
