"""What is fetched before it is asked for."""

from __future__ import annotations

import numpy as np

from ....compilation import inner, rare
from ....envs.expert_cache.serving import farthest, layer_ahead, may_prefetch
from ....envs.expert_cache.state import Episode, World
from .desk import Desk
from .evictors import count_in_prompt

PREFETCHERS = ("none", "popular", "transition", "gate", "pre-gated")
"""Rules, in the order of their codes.

- ``none``: nothing.
- ``popular``: the experts of the following layers that this prompt used most, if it used them in at least half of its
  steps.
- ``transition``: those that followed the current experts most often, in the layer after this one.
- ``gate``: what the trace predicts: the next routers, applied to what is known now (Fate, arXiv:2502.12224;
  mixtral-offloading, arXiv:2312.17238).
- ``pre-gated``: what will be used: the path is known in advance (Read-ME, arXiv:2410.19123).
"""

NONE, POPULAR, TRANSITION, GATE, PRE_GATED = range(len(PREFETCHERS))


@rare
def target_of(world: World, desk: Desk, episode: Episode, b: int, code: int) -> int:
    """Returns the item that a rule fetches early, -1 for none."""
    if code == POPULAR:
        return _popular(episode)
    if code == TRANSITION:
        return _likely(desk, episode, b)
    if code == GATE:
        return _predicted(world, episode)
    if code == PRE_GATED:
        return _on_path(episode)
    return -1


@inner
def _popular(episode: Episode) -> int:
    status, law = episode.status[0], episode.law[0]
    for distance in range(1, farthest(episode) + 1):
        layer = layer_ahead(episode, distance)
        best, most = -1, 0.5 * (status.prompt_step + 1)
        for expert in range(law.num_experts if layer >= 0 else 0):
            item = layer * law.num_experts + expert
            if count_in_prompt(episode, item) > most and may_prefetch(episode, item):
                best, most = item, count_in_prompt(episode, item)
        if best >= 0:
            return int(best)
    return -1


@rare
def learn_transitions(desk: Desk, episode: Episode, b: int) -> None:
    """Counts which experts followed which, in the event that has its decisions now."""
    status, law, progress = episode.status[0], episode.law[0], desk.progress[b]
    event = status.event
    if progress.event >= event or event == status.first_event:
        return
    progress.event = event
    layer = episode.events[event].layer
    if layer == 0:
        return
    for x in range(episode.events[event - 1].first, episode.events[event].first):
        before = episode.entries[x].item % law.num_experts
        for y in range(episode.events[event].first, episode.events[event + 1].first):
            desk.transitions[b, layer, before, episode.entries[y].item % law.num_experts] += np.float32(1.0)


@inner
def _likely(desk: Desk, episode: Episode, b: int) -> int:
    status, law = episode.status[0], episode.law[0]
    layer = layer_ahead(episode, 1)
    if layer <= 0:
        return -1
    desk.likely[:] = np.float32(0.0)
    for x in range(episode.events[status.event].first, episode.events[status.event + 1].first):
        before = episode.entries[x].item % law.num_experts
        for expert in range(law.num_experts):
            desk.likely[expert] += desk.transitions[b, layer, before, expert]
    # Only those are fetched that are among the k likeliest, so that the link is not busy with the unlikely.
    for _ in range(law.top_k):
        expert = np.argmax(desk.likely)
        if desk.likely[expert] <= 0.0:
            return -1
        item = layer * law.num_experts + expert
        if may_prefetch(episode, item):
            return int(item)
        desk.likely[expert] = np.float32(0.0)
    return -1


@inner
def _predicted(world: World, episode: Episode) -> int:
    status = episode.status[0]
    predicted = world.predicted[status.slot]
    for distance in range(1, min(farthest(episode), predicted.shape[1]) + 1):
        for rank in range(predicted.shape[2]):
            item = predicted[status.event, distance - 1, rank]
            if may_prefetch(episode, item):
                return int(item)
    return -1


@inner
def _on_path(episode: Episode) -> int:
    status = episode.status[0]
    last = min(status.event + farthest(episode), status.end_event - 1)
    for event in range(status.event + 1, last + 1):
        for x in range(episode.events[event].first, episode.events[event + 1].first):
            if may_prefetch(episode, episode.entries[x].item):
                return int(episode.entries[x].item)
    return -1
