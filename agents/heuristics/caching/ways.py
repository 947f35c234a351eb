"""How a miss is served."""

from __future__ import annotations

from ....compilation import rare
from ....envs.expert_cache.link import seconds_to_load
from ....envs.expert_cache.rules import CPU, LOAD, LOAD_LOW, SKIP
from ....envs.expert_cache.serving import device_seconds, is_way
from ....envs.expert_cache.state import Episode

SERVERS = ("load", "cpu-if-sooner", "thresholds", "widths", "cpu")
"""Rules, in the order of their codes.

- ``load``: always load at high precision.
- ``cpu-if-sooner``: on the CPU if it would be done there before it were loaded and computed (Fiddler,
  arXiv:2402.07033; HybriMoE, arXiv:2504.05897).
- ``thresholds``: by the router scores that rank higher for the token: at most 0.6, at high precision; at most 0.9, at
  low; else it is left out (HOBBIT, arXiv:2411.01433).
- ``widths``: every expert has a precision of its own: high for those that this prompt used in at least as many of its
  steps as an expert does on average, low for the rest (after EdgeMoE, arXiv:2308.14352, which finds widths offline).
- ``cpu``: always on the CPU (KTransformers, SOSP 2025).
"""

LOAD_ALWAYS, CPU_IF_SOONER, THRESHOLDS, WIDTHS, CPU_ALWAYS = range(len(SERVERS))

_HIGH, _LOW = 0.6, 0.9


@rare
def way_of(episode: Episode, code: int) -> int:
    """Returns how a rule serves the entry that waits."""
    status, law = episode.status[0], episode.law[0]
    entry = episode.entries[status.entry]
    wanted = LOAD
    if code == CPU_IF_SOONER and is_way(episode, CPU):
        costs = episode.kinds[episode.kind[entry.item]]
        by_cpu = max(status.cpu_free, status.now, status.start) + max(costs.cpu_floor, entry.tokens * costs.cpu_slope)
        arrival = max(status.now, status.link_free) + seconds_to_load(episode, entry.item, False)
        by_device = max(arrival, status.device_free) + device_seconds(episode, entry.item, entry.tokens, False)
        wanted = CPU if by_cpu < by_device else LOAD
    elif code == CPU_ALWAYS:
        wanted = CPU
    elif code == THRESHOLDS and entry.cumulative > _LOW:
        wanted = SKIP
    elif code == THRESHOLDS and entry.cumulative > _HIGH:
        wanted = LOAD_LOW
    elif code == WIDTHS:
        place = episode.places[entry.item]
        count = place.count if place.prompt == status.prompt else 0
        wanted = LOAD if count * law.num_experts >= (status.prompt_step + 1) * law.top_k else LOAD_LOW
    return wanted if is_way(episode, wanted) else LOAD
