"""What policies learn about the experts that follow: transitions, paths, and maps of whole passes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ....compilation import inner, rare
from ....envs.expert_cache.instance import Records
from ....envs.expert_cache.serving import farthest
from ....envs.expert_cache.simulator import ExpertCacheSimulator
from ....envs.expert_cache.state import Episode

LEARNERS = ("transition", "path", "nearest-map")
"""What can be learnt, in the order of its codes, from each event as soon as it has begun, and what is foretold from it.

A layer that comes is foretold at most as many experts as the current event uses.

- ``transition``: n(f, e) counts how often expert e of a layer was used in the event after one that used f. The next
  event is foretold those of the largest sum of n(f, e) over the experts f of the current one, if it is not 0.
- ``path``: a logistic regression for each expert e of each layer. Let F1 be the experts of the event before, F2 of the
  one before that, and F3 of the same layer in the last step; s(e) = log(k / (E - k)) + the sum over i, and over f in
  Fi, of w_i(f, e) / sqrt(|Fi|). Its probability is p = 1 / (1 + exp(-s)). When the event begins, `RATE` x ((1 if it
  uses e else 0) - p) / sqrt(|Fi|) is added to each of these w_i(f, e), which are 0 at first. An event that comes is
  foretold those of the largest s, from what is known of F1, F2 and F3, if s is larger than with w = 0. (EdgeMoE,
  arXiv:2308.14352, predicts from the experts of the last two layers, by a table that is made offline; ExpertFlow,
  arXiv:2410.17954, trains a transformer to predict the path. This is the online predictor in their place.)
- ``nearest-map``: the maps of the last passes: which experts of which layers each used. The layers that follow in this
  pass are foretold those of the map for which the mean cosine between its layers and those passed so far is largest
  (the first of equals; none if it is 0). MoE-Infinity weighs the map's row for layer x, seen from l, by
  1 - (x - l) / (L + 1) (arXiv:2401.14361): nearer layers come first. `MAPS` are kept; then a pass replaces the map that
  was nearest to it, so that the others stay as different as they are (FineMoE, arXiv:2502.05370, has maps of passes,
  1,000 of them, and replaces the most redundant; MoE-Infinity has those of sequences, with numbers of tokens).
"""

TRANSITIONS, PATHS, NEAREST = range(len(LEARNERS))

RATE = 0.5
"""Learning rate of paths: the step of the logistic regression, whose features have a norm of at most sqrt(3)."""

MAPS = 1000
"""Maps that are kept, as in FineMoE's evaluation."""

_BITS = 64

LEARNT = np.dtype(
    [
        ("event", np.int64),  # the first that has not been learnt from
        ("planned", np.int64),  # the event for which there is a plan; -1 for none
        ("length", np.int64),  # of the plan
        ("maps", np.int64),  # that are kept
    ],
    align=True,
)
"""How far a predictor has followed an episode."""


class Predictor(NamedTuple):
    """What is learnt in B episodes."""

    progress: Records  # (B,) of LEARNT
    tables: NDArray[np.float32]  # (B, relations, L, E, E), or empty
    maps: NDArray[np.uint64]  # (B, L, C + 1, words + 1), the last map of this pass, the last word the experts; or empty
    similarity: NDArray[np.float64]  # (B, C), sums of cosines in this pass
    score: NDArray[np.float64]  # (E,) room
    plan: NDArray[np.int32]  # (B, P) items that are foretold, in the order in which they are to be fetched

    @classmethod
    def of(cls, simulator: ExpertCacheSimulator, learner: str | None) -> Predictor:
        """Returns the room that a learner needs.

        Args:
            simulator: Whose episodes have just begun.
            learner: One of `LEARNERS`, or None.
        """
        rows, layers, experts = simulator.num_envs, simulator.items.num_layers, simulator.items.num_experts
        progress = np.zeros(rows, LEARNT)
        progress["event"] = simulator.state.status["first_event"]
        progress["planned"] = -1
        relations = {"transition": 1, "path": 3}.get(learner or "", 0)
        has_maps = learner == "nearest-map"
        words = -(-experts // _BITS) + 1
        distances = min(simulator.rules.prefetch_distance, layers) if learner else 0
        return cls(
            progress=progress,
            tables=np.zeros(
                (rows, relations, layers, experts, experts) if relations else (rows, 0, 0, 0, 0), np.float32
            ),
            maps=np.zeros((rows, layers, MAPS + 1, words) if has_maps else (rows, 0, 0, 0), np.uint64),
            similarity=np.zeros((rows, MAPS if has_maps else 0)),
            score=np.zeros(experts),
            plan=np.zeros((rows, distances * experts), np.int32),
        )


@rare
def plan(predictor: Predictor, episode: Episode, b: int, learner: int) -> None:
    """Learns from all events that have begun, and writes down what is foretold in the current one."""
    progress, event = predictor.progress[b], episode.status[0].event
    if progress.planned == event:
        return
    while progress.event <= event:
        _learn(predictor, episode, b, learner, progress.event)
        progress.event += 1
    progress.planned, progress.length = event, 0
    for distance in range(1, farthest(episode) + 1):
        target = event + distance
        if target < episode.status[0].end_event:
            _foretell(predictor, episode, b, learner, target)
            _take_likeliest(predictor, episode, b, target)


@inner
def _learn(predictor: Predictor, episode: Episode, b: int, learner: int, event: int) -> None:
    if learner == TRANSITIONS:
        _count_transitions(predictor, episode, b, event)
    elif learner == PATHS:
        _learn_path(predictor, episode, b, event)
    else:
        _learn_map(predictor, episode, b, event)


@inner
def _foretell(predictor: Predictor, episode: Episode, b: int, learner: int, target: int) -> None:
    """Scores the experts of an event that comes; what is not foretold has 0 or less."""
    predictor.score[:] = 0.0
    if learner == TRANSITIONS and target == episode.status[0].event + 1:
        _add_table(predictor, episode, b, 0, target - 1, target, False)
    elif learner == PATHS:
        _score_path(predictor, episode, b, target, episode.status[0].event)
    elif learner == NEAREST and episode.events[target].step == episode.status[0].step:
        _score_nearest(predictor, episode, b, target)


@inner
def _take_likeliest(predictor: Predictor, episode: Episode, b: int, target: int) -> None:
    """Takes the experts of highest score into the plan, the first of equals first."""
    law, progress, event = episode.law[0], predictor.progress[b], episode.status[0].event
    for _ in range(episode.events[event].first, episode.events[event + 1].first):
        expert = np.argmax(predictor.score)
        if not predictor.score[expert] > 0.0:
            return
        predictor.score[expert] = 0.0
        predictor.plan[b, progress.length] = episode.events[target].layer * law.num_experts + expert
        progress.length += 1


@inner
def _count_transitions(predictor: Predictor, episode: Episode, b: int, event: int) -> None:
    law, events = episode.law[0], episode.events
    if event == episode.status[0].first_event:
        return
    table = predictor.tables[b, 0, events[event].layer]
    for x in range(events[event - 1].first, events[event].first):
        row = table[episode.entries[x].item % law.num_experts]
        for y in range(events[event].first, events[event + 1].first):
            row[episode.entries[y].item % law.num_experts] += np.float32(1.0)


@inner
def _add_table(
    predictor: Predictor, episode: Episode, b: int, relation: int, source: int, target: int, scaled: bool
) -> None:
    """Adds to the scores what a relation gives for the experts of an event."""
    law, events = episode.law[0], episode.events
    begin, end = events[source].first, events[source + 1].first
    scale = 1.0 / math.sqrt(end - begin) if scaled else 1.0
    for x in range(begin, end):
        row = predictor.tables[b, relation, events[target].layer, episode.entries[x].item % law.num_experts]
        for expert in range(law.num_experts):
            predictor.score[expert] += scale * row[expert]


@inner
def _source(episode: Episode, relation: int, target: int) -> int:
    """Returns the event that has a relation to another: the first or second before it, or its layer's last one.

    It is -1 where there is none in this episode, or where it is one of the other two.
    """
    law = episode.law[0]
    period = 1 if law.is_single_layer else law.num_layers
    if relation == 2 and period <= 2:
        return -1
    source = target - (period if relation == 2 else relation + 1)
    return int(source if source >= episode.status[0].first_event else -1)


@inner
def _score_path(predictor: Predictor, episode: Episode, b: int, target: int, last: int) -> None:
    """Writes what is learnt about an event, s(e) - log(k / (E - k)), from events up to the last that is known."""
    predictor.score[:] = 0.0
    for relation in range(3):
        source = _source(episode, relation, target)
        if 0 <= source <= last:
            _add_table(predictor, episode, b, relation, source, target, True)


@inner
def _learn_path(predictor: Predictor, episode: Episode, b: int, event: int) -> None:
    law, events, error = episode.law[0], episode.events, predictor.score
    _score_path(predictor, episode, b, event, event - 1)
    odds = (law.num_experts - law.top_k) / law.top_k
    for expert in range(law.num_experts):
        error[expert] = -1.0 / (1.0 + odds * math.exp(-error[expert]))
    for x in range(events[event].first, events[event + 1].first):
        error[episode.entries[x].item % law.num_experts] += 1.0
    for relation in range(3):
        source = _source(episode, relation, event)
        if source >= 0:
            begin, end = events[source].first, events[source + 1].first
            step = RATE / math.sqrt(end - begin)
            for x in range(begin, end):
                row = predictor.tables[b, relation, events[event].layer, episode.entries[x].item % law.num_experts]
                for expert in range(law.num_experts):
                    row[expert] += np.float32(step * error[expert])


@inner
def _learn_map(predictor: Predictor, episode: Episode, b: int, event: int) -> None:
    """Compares a layer with that of all maps, and begins a new map with each pass."""
    law, events, progress = episode.law[0], episode.events, predictor.progress[b]
    if events[event].begins_step:
        if event > episode.status[0].first_event:
            _keep_map(predictor, b)
        predictor.similarity[b] = 0.0
        predictor.maps[b, :, MAPS] = np.uint64(0)
    rows = predictor.maps[b, events[event].layer]
    mine, words = rows[MAPS], rows.shape[1] - 1
    for x in range(events[event].first, events[event + 1].first):
        expert = episode.entries[x].item % law.num_experts
        mine[expert // _BITS] |= np.uint64(1) << np.uint64(expert % _BITS)
    mine[words] = np.uint64(events[event + 1].first - events[event].first)
    for other in range(progress.maps):
        common = 0
        for word in range(words):
            common += _count_bits(mine[word] & rows[other, word])
        if common > 0:
            predictor.similarity[b, other] += common / math.sqrt(float(mine[words]) * float(rows[other, words]))


@rare
def _keep_map(predictor: Predictor, b: int) -> None:
    """Keeps the map of a pass that has ended, in the place of the nearest one if there is no more room."""
    progress = predictor.progress[b]
    if progress.maps < MAPS:
        place = progress.maps
        progress.maps += 1
    else:
        place = np.argmax(predictor.similarity[b])
    maps = predictor.maps[b]
    for layer in range(maps.shape[0]):
        for word in range(maps.shape[2]):
            maps[layer, place, word] = maps[layer, MAPS, word]


@inner
def _score_nearest(predictor: Predictor, episode: Episode, b: int, target: int) -> None:
    """Marks the experts that the nearest map has in a layer that follows."""
    nearest = np.argmax(predictor.similarity[b])
    if predictor.similarity[b, nearest] > 0.0:
        row = predictor.maps[b, episode.events[target].layer, nearest]
        for expert in range(episode.law[0].num_experts):
            bit = (row[expert // _BITS] >> np.uint64(expert % _BITS)) & np.uint64(1)
            predictor.score[expert] = float(bit)


@inner
def _count_bits(word: np.uint64) -> int:
    """Returns how many bits of a word are 1 (Warren, Hacker's Delight, 2012, section 5-1)."""
    word = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    word = (word & np.uint64(0x3333333333333333)) + ((word >> np.uint64(2)) & np.uint64(0x3333333333333333))
    word = (word + (word >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return int((word * np.uint64(0x0101010101010101)) >> np.uint64(56))
