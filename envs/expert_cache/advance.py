"""The kernels that a simulator calls: they begin episodes, and take a decision in each."""

from __future__ import annotations

from typing import Any

from ...compilation import handle_kernel, inner
from .features import list_targets, show
from .instance import IntArray
from .reward import reward
from .rules import WAYS
from .serving import clear, decide_prefetch, decide_victim, decide_way, is_way, may_prefetch, run_on
from .state import (
    MISS,
    NO_DECISION,
    PREFETCH,
    Episode,
    World,
    episode_at,
    is_evictable,
    oldest_evictable,
    pool_of,
)

NOTHING = -(2**63)
"""The action that decides nothing, and only shows an episode as it is."""

INVALID = -2
"""What an action stands for that is not allowed; -1 is candidate 0."""


@inner
def _item_of(world: World, episode: Episode, b: int, action: int, num_candidates: int, observes: bool) -> int:
    """Returns the item that an action names, -1 for candidate 0, `INVALID` for what is not allowed."""
    status, window = episode.status[0], world.state.targets.shape[1]
    if action == 0:
        return -1
    if action < 0 or action >= num_candidates + episode.law[0].num_items or window < action < num_candidates:
        return INVALID
    if status.kind == PREFETCH:
        if action >= num_candidates:
            item = action - num_candidates
        else:
            found = window if observes else list_targets(world, episode, b)
            item = world.state.targets[b, action - 1] if action <= found else -1
        return int(item) if may_prefetch(episode, item) else INVALID
    if action >= num_candidates:
        item = action - num_candidates
        return int(item) if pool_of(episode, item) == status.pool and is_evictable(episode, item) else INVALID
    item = oldest_evictable(episode, status.pool, action - 1)
    return item if item >= 0 else INVALID


@inner
def _decide(world: World, episode: Episode, b: int, action: int, num_candidates: int, observes: bool) -> bool:
    """Takes a decision, and returns whether it was allowed; if not, candidate 0 is decided."""
    status, kind = episode.status[0], episode.status[0].kind
    item = -1 if kind == MISS else _item_of(world, episode, b, action, num_candidates, observes)
    status.kind = NO_DECISION
    if kind == MISS:
        allowed = 0 <= action < len(WAYS) and is_way(episode, action)
        decide_way(episode, action if allowed else 0)
        return allowed
    if kind == PREFETCH:
        decide_prefetch(episode, max(item, -1))
    else:
        decide_victim(episode, max(item, -1))
    return item != INVALID


@inner
def _begin(world: World, rows: IntArray) -> None:
    for b in rows:
        clear(episode_at(world, b))
        outcome = world.outcome[b]
        outcome.reward, outcome.episode_return, outcome.episode_length = 0.0, 0.0, 0
        # An episode without decisions ends with its first step.
        outcome.terminated, outcome.invalid_action, outcome.discount = False, False, 1.0


@inner
def _advance(world: World, rows: IntArray, actions: IntArray, observes: bool) -> int:
    noteworthy = 0
    num_candidates = world.shown.action_mask.shape[1]
    for position in range(rows.size):
        b, action = rows[position], actions[position]
        episode = episode_at(world, b)
        status, outcome = episode.status[0], world.outcome[b]
        takes, allowed = action != NOTHING and not outcome.terminated, action == 0
        if takes and not status.is_over:
            allowed = _decide(world, episode, b, action, num_candidates, observes)
        run_on(episode)
        # What happened before the first decision is nobody's merit.
        gained, steps = reward(episode), status.step - status.paid_step
        status.paid_step = status.step
        if takes:
            outcome.reward = gained
            outcome.discount = episode.law[0].discount_per_token ** steps
            outcome.invalid_action, outcome.terminated = not allowed, status.is_over
            outcome.episode_return += outcome.reward
            outcome.episode_length += 1
        if observes:
            show(world, episode, b)
        noteworthy += outcome.terminated or outcome.invalid_action
    return noteworthy


@handle_kernel
def begin(handle: Any, rows: IntArray) -> None:
    """Begins some episodes; `advance` runs them on to their first decisions.

    Args:
        handle: Of a `World`, whose status says what they play.
        rows: Which episodes.
    """
    _begin(handle.value, rows)


@handle_kernel
def advance(handle: Any, rows: IntArray, actions: IntArray, observes: bool) -> int:
    """Takes one decision in some episodes, and returns how many have ended or were asked for what is not allowed.

    Args:
        handle: Of a `World`.
        rows: Which episodes.
        actions: One for each of them, or `NOTHING`.
        observes: Whether to bring observations up to date.
    """
    return _advance(handle.value, rows, actions, observes)
