"""What is fetched before it is asked for."""

from __future__ import annotations

from ....compilation import inner, rare
from ....envs.expert_cache.serving import farthest, layer_ahead, may_prefetch
from ....envs.expert_cache.state import Episode, World
from .desk import Desk
from .evictors import count_in_prompt
from .predictors import LEARNERS, plan

PREFETCHERS = ("none", "popular", "gate", "pre-gated", *LEARNERS)
"""Rules, in the order of their codes. Each fetches for nearer layers first.

- ``none``: nothing.
- ``popular``: the experts of the following layers that this prompt used most, if it used them in more than half of
  its steps.
- ``gate``: what the trace predicts, all of it: the next routers, applied to what is known now (Fate,
  arXiv:2502.12224; mixtral-offloading, arXiv:2312.17238).
- ``pre-gated``: what will be used: the path is known in advance (Read-ME, arXiv:2410.19123).
- ``transition``, ``path``, ``nearest-map``: what is learnt of the experts that follow, for each layer at most as many
  as the current event uses; see `LEARNERS`.

None of them fetches what could not be on its way before its layer's routing is known: it would come no sooner than if
it were asked for then. See `has_time`.
"""

NONE, POPULAR, GATE, PRE_GATED, LEARNT = range(5)


@rare
def target_of(world: World, desk: Desk, episode: Episode, b: int, code: int) -> int:
    """Returns the item that a rule fetches early, -1 for none."""
    if code == POPULAR:
        return _popular(episode)
    if code == GATE:
        return _predicted(world, episode)
    if code == PRE_GATED:
        return _on_path(episode)
    if code >= LEARNT:
        return _foretold(desk, episode, b, code - LEARNT)
    return -1


@inner
def has_time(episode: Episode, distance: int) -> bool:
    """Whether a prefetch that is decided now would begin before the routing of the layer at a distance is known.

    It begins when the link has carried what it carries and what stands in the queue. The current event ends when
    everything that is scheduled is computed; its dense part and its length stand for those of the events that follow.
    """
    status, law = episode.status[0], episode.law[0]
    begin = max(status.link_free, status.now)
    for position in range(status.queue_length):
        begin += episode.queue[position].chunks * episode.queue[position].chunk_seconds
    end = max(status.device_free, status.cpu_free, status.start, status.now)
    known = end + (distance - 1) * (end - status.end)
    if not law.early_router:
        known += status.start - status.end
    return bool(begin < known)


@inner
def _popular(episode: Episode) -> int:
    status, law = episode.status[0], episode.law[0]
    for distance in range(1, farthest(episode) + 1):
        layer = layer_ahead(episode, distance)
        best, most = -1, 0.5 * (status.prompt_step + 1)
        for expert in range(law.num_experts if layer >= 0 and has_time(episode, distance) else 0):
            item = layer * law.num_experts + expert
            if count_in_prompt(episode, item) > most and may_prefetch(episode, item):
                best, most = item, count_in_prompt(episode, item)
        if best >= 0:
            return int(best)
    return -1


@inner
def _predicted(world: World, episode: Episode) -> int:
    status = episode.status[0]
    predicted = world.predicted[status.slot]
    for distance in range(1, min(farthest(episode), predicted.shape[1]) + 1):
        for rank in range(predicted.shape[2] if has_time(episode, distance) else 0):
            item = predicted[status.event, distance - 1, rank]
            if may_prefetch(episode, item):
                return int(item)
    return -1


@inner
def _on_path(episode: Episode) -> int:
    status = episode.status[0]
    last = min(status.event + farthest(episode), status.end_event - 1)
    for event in range(status.event + 1, last + 1):
        if has_time(episode, event - status.event):
            for x in range(episode.events[event].first, episode.events[event + 1].first):
                if may_prefetch(episode, episode.entries[x].item):
                    return int(episode.entries[x].item)
    return -1


@inner
def _foretold(desk: Desk, episode: Episode, b: int, learner: int) -> int:
    law, here = episode.law[0], episode.events[episode.status[0].event].layer
    plan(desk.predictor, episode, b, learner)
    for position in range(desk.predictor.progress[b].length):
        item = desk.predictor.plan[b, position]
        layer = item // law.num_experts
        ahead = layer - here if layer > here else layer - here + law.num_layers
        if has_time(episode, 1 if law.is_single_layer else ahead) and may_prefetch(episode, item):
            return int(item)
    return -1
