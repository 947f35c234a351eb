"""Which resident item goes to make room for another, by what the simulator records of each."""

from __future__ import annotations

import numpy as np

from ....compilation import inner, rare
from ....envs.expert_cache.state import PREFETCH_EVICT, Episode, is_evictable, oldest_evictable
from .automata import ALGORITHMS, ARC
from .desk import Desk, algorithms_victim, first_to_come, next_use, num_uses, use_at
from .use_filter import follow_uses

SCORED = (
    "recency", "frequency", "token-frequency", "lfru", "least-stale", "mrs", "hobbit", "moe-infinity", "finemoe",
    "hottest", "belady", "belady-bypass", "latent",
)  # fmt: skip
"""Rules that evict the item of the least score, the least recently used of equals; their codes follow those of the
algorithms."""

EVICTORS = (*ALGORITHMS, *SCORED, "fate", "nothing")
"""All rules, in the order of their codes.

- ``fate`` is ARC, but that the first `SHALLOW` layers keep their items while there are others in the pool: layers whose
  experts can be predicted least are held whole (arXiv:2502.12224). (In a pool of one layer it is ARC; a list of slots
  as ``budget`` gives shallow layers larger ones.)
- ``nothing`` is evicted: what finds no room is loaded past the pool, which keeps what came while there was room.
"""

(
    RECENCY, FREQUENCY, TOKEN_FREQUENCY, LFRU, LEAST_STALE, MRS, HOBBIT, MOE_INFINITY, FINEMOE, HOTTEST, BELADY,
    BELADY_BYPASS, LATENT,
) = range(len(ALGORITHMS), len(ALGORITHMS) + len(SCORED))  # fmt: skip
FATE, NOTHING = EVICTORS.index("fate"), EVICTORS.index("nothing")

LEARNED = len(EVICTORS)
"""The rule of a trained network (`use_filter`), which has no name: it needs the network's weights."""

SHALLOW = 4
"""Layers that Fate holds whole."""

_LEAST = 1e-6
"""Added to factors, so that where one is 0 the others decide (as in MoE-Infinity's program)."""


def followed_by(evict: str) -> str | None:
    """Returns the algorithm that has to follow what happens, for a rule; None for a rule without one."""
    if evict == "fate":
        return "arc"
    return evict if evict in ALGORITHMS else None


@inner
def count_in_prompt(episode: Episode, item: int) -> int:
    """Returns how many events of this prompt used an item."""
    place = episode.places[item]
    return int(place.count if place.prompt == episode.status[0].prompt else 0)


@inner
def _tokens_in_prompt(episode: Episode, item: int) -> int:
    place = episode.places[item]
    return int(place.tokens if place.prompt == episode.status[0].prompt else 0)


@inner
def score_of(desk: Desk, episode: Episode, b: int, code: int, item: int) -> float:
    """Returns how much an item is worth keeping.

    - ``frequency``: events of this prompt that used it.
    - ``token-frequency``: tokens of this prompt that used it: in a prefill an event has many.
    - ``lfru``: ``frequency`` / steps since its last use (arXiv:2608.07911).
    - ``least-stale``: whether this pass has touched it.
    - ``mrs``: router scores, those of a step counting half as much as the next step's (HybriMoE, arXiv:2504.05897,
      with alpha = 0.5; scores of experts that are not used are not recorded and count as 0).
    - ``hobbit``: see `_hobbit`.
    - ``moe-infinity``: (1 - layer / layers) x share of this prompt's steps that used it x its uses
      (MoE-Infinity, arXiv:2401.14361: topology, activation in the sequence, visits).
    - ``finemoe``: p x uses (FineMoE, arXiv:2502.05370, which evicts the largest 1 / (p x frequency)). Its p is a
      probability from the stored map of a similar prompt; there are none here, and p is the score of ``mrs``.
    - ``hottest``: how many events of the whole recording use it: a static choice by a profile that knows the future.
    - ``belady``: minus the next event that uses it (Belady 1966, doi:10.1147/sj.52.0078); ``belady-bypass`` is
      `_last_in_turn`.
    - ``latent`` (see `_last_in_turn` as well): what share of the tokens to come is expected to use it, by one who sees
      the state of the routers that a generated trace was drawn from, at its layer's last step
      (`hetgym.workloads.routing.latent_uses`).
    - `LEARNED` (see `_last_in_turn` as well): what the network says.
    """
    place, status = episode.places[item], episode.status[0]
    age = status.step - place.step
    score = 0.0
    if code in (FREQUENCY, TOKEN_FREQUENCY):
        score = float(count_in_prompt(episode, item) if code == FREQUENCY else _tokens_in_prompt(episode, item))
    elif code == LFRU:
        score = count_in_prompt(episode, item) / max(age, 1)
    elif code == LEAST_STALE:
        score = 1.0 if age == 0 else 0.0
    elif code == MRS:
        score = _recent_scores(episode, item)
    elif code == HOBBIT:
        score = _hobbit(episode, item)
    elif code == MOE_INFINITY:
        law = episode.law[0]
        topology = 1.0 - (item // law.num_experts) / law.num_layers
        activation = count_in_prompt(episode, item) / (status.prompt_step + 1.0)
        score = topology * (activation + _LEAST) * (place.uses + _LEAST)
    elif code == FINEMOE:
        score = _recent_scores(episode, item) * place.uses
    elif code == HOTTEST:
        score = float(num_uses(desk, b, item))
    elif code == LATENT:
        score = _latent(desk, episode, b, item)
    elif code == LEARNED:
        score = float(desk.network.score[b, item])
    elif code == BELADY:
        score = -float(next_use(desk, episode, b, item))
    return score


@inner
def _latent(desk: Desk, episode: Episode, b: int, item: int) -> float:
    """Returns how likely an item is to be used, as far as the routers' state tells."""
    status, law = episode.status[0], episode.law[0]
    is_passed = item // law.num_experts <= episode.events[status.event].layer
    if is_passed or status.prompt_step > 0:
        return float(desk.expected[b, status.step - (not is_passed), item])
    # Nothing is known yet of this prompt in the layers that follow.
    return float(law.top_k / law.num_experts)


@inner
def _recent_scores(episode: Episode, item: int) -> float:
    """Returns an item's router scores, those of a step counting half as much as the next step's."""
    place = episode.places[item]
    age = episode.status[0].step - place.step
    return float(place.score * 0.5 ** min(age, 1000)) if place.step >= 0 else 0.0


@inner
def _hobbit(episode: Episode, item: int) -> float:
    """Returns HOBBIT's weighted score, of what was counted in this prompt (arXiv:2411.01433).

    The mean of: how late in the prompt it was last used; in what share of its steps it was used, and used at high
    precision; and how near its layer is. The paper finds weights for each model; here they are equal. Uses at high
    precision are not recorded: those of an item that is held at high precision are taken to be.
    """
    status, law, place = episode.status[0], episode.law[0], episode.places[item]
    steps = status.prompt_step + 1.0
    count = count_in_prompt(episode, item)
    recency = 1.0 - (status.step - place.step) / steps if count else 0.0
    frequency = count / steps
    layer, here = item // law.num_experts, episode.events[status.event].layer
    ahead = layer - here if layer > here else layer - here + law.num_layers
    nearness = 1.0 - ahead / law.num_layers
    return float(0.25 * (recency + frequency + (0.0 if place.is_low else frequency) + nearness))


@inner
def victim_of(desk: Desk, episode: Episode, b: int, code: int) -> int:
    """Returns the item that a rule evicts, -1 to load past the pool."""
    if code == RECENCY:
        return oldest_evictable(episode, episode.status[0].pool, 0)
    if code < len(ALGORITHMS):
        return algorithms_victim(desk, episode, b, code, 0)
    if code == FATE:
        return algorithms_victim(desk, episode, b, ARC, SHALLOW)
    if code == NOTHING:
        return -1
    if code == LEARNED:
        follow_uses(desk.network, episode, b)
    if code in (BELADY_BYPASS, LATENT, LEARNED):
        return _last_in_turn(desk, episode, b, code)
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
    if code == HOTTEST and score_of(desk, episode, b, code, status.incoming) <= least:
        return -1
    return int(best)


@rare
def _last_in_turn(desk: Desk, episode: Episode, b: int, code: int) -> int:
    """Returns the victim of ``belady-bypass``, ``latent`` and `LEARNED`: the last in turn of what can go; -1 to bypass.

    An event finds a full pool, that is H, which it uses, and N; M are its misses. H stays (a hit is pinned); of N and M
    as many items stay as N has, those that come first in turn: a miss is let in only if it will be among them, whatever
    misses follow it. With ``latent`` and `LEARNED` the items of most expected uses come first. With ``belady-bypass``
    an item comes before another whose uses to come, compared one after the other, begin to differ with a later one.
    Then no evictions and bypasses have more hits, where items have one size, nothing is prefetched, all misses are
    loaded, and every event's union fits its pool (or finds it empty). For let V(S) be the most hits from a full pool S
    on. By induction from the last event, in words of a pool with x that imitates one with y instead (others alike):

    - V(S + x) >= V(S + y) - 1: an event that uses y alone lets y in for x, and the pools are the same; one
      that uses x alone is a hit more, after which the pools differ in one item at most, and so do their hits.
    - V(S + x) >= V(S + y) where x comes before y: if an event uses x alone, that hit makes good for all that follows.
      If it uses both, each pool has one hit and pins it. Should the other now keep x as well as y, so does this one,
      and they are the same; else this one keeps x where the other keeps y, and x still comes before y.

    So whatever set is kept, an item that comes first in place of another is as good. A pool that is not full gives its
    free places to the first misses: there is nothing to decide.

    With ``belady-bypass`` a prefetch is given up unless it is used in an earlier event than its victim.
    """
    status = episode.status[0]
    end = episode.law[0].num_items + status.pool
    last, places_left, before = -1, 0, 0
    item = episode.places[end].next
    while item != end:
        if is_evictable(episode, item):
            places_left += 1
            before += _comes_before(desk, episode, b, code, item, status.incoming)
            if last < 0 or _comes_before(desk, episode, b, code, last, item):
                last = item
        item = episode.places[item].next
    if status.kind == PREFETCH_EVICT:
        if code == BELADY_BYPASS and next_use(desk, episode, b, status.incoming) >= next_use(desk, episode, b, last):
            return -1
        return int(last)
    for x in range(status.entry + 1, episode.events[status.event + 1].first):
        item = episode.entries[x].item
        is_miss = episode.places[item].event != status.event
        before += is_miss and _comes_before(desk, episode, b, code, item, status.incoming)
    return int(last) if before < places_left else -1


@inner
def _comes_before(desk: Desk, episode: Episode, b: int, code: int, item: int, other: int) -> bool:
    """Whether an item is worth keeping rather than another, as `_last_in_turn` says."""
    if code in (LATENT, LEARNED):
        return score_of(desk, episode, b, code, item) > score_of(desk, episode, b, code, other)
    end = episode.status[0].end_event
    x, y = first_to_come(desk, episode, b, item), first_to_come(desk, episode, b, other)
    while True:
        use, others_use = use_at(desk, b, item, x, end), use_at(desk, b, other, y, end)
        if use != others_use or use == end:
            return bool(use < others_use)
        x += 1
        y += 1
