"""The Gymnasium faces of the expert-cache family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..core.scenario import Scenario
from ..core.single import SingleEnv
from ..core.vector import BatchedEnv


class ExpertCacheEnv(SingleEnv):
    """Decides which experts of a mixture-of-experts model stay in fast memory, and which are fetched early.

    ## Description
    A model's tokens use k experts in each layer; which, a router says, layer by layer. Fast memory holds some of the
    experts. Those that are missing are loaded over a link, one after another, while the device waits (it stalls). All
    experts of a layer's event are needed together: none of them can be evicted for another. Decided are, as the
    scenario's ``decisions`` say: which resident expert leaves for one that is loaded (``evict``), which experts of the
    following layers are fetched before they are asked for (``prefetch``), and whether a missing expert is loaded at
    high or low precision, computed by the CPU, or left out (``miss``). Whole models and adapters are items of the same
    kind. ``docs/expert-cache.md`` has all rules.

    ## Action Space
    ``Discrete(1 + shown)``. Candidate 0 is always allowed: bypass (the expert is used and does not stay), no prefetch,
    or a load at high precision. Where a victim is decided, candidate i is the i-th least recently used expert of the
    pool that may leave; where a prefetch is decided, the i-th most likely target (by the trace's predictions, else by
    uses in this prompt); where a miss is decided, 1 is a load at low precision, 2 the CPU, 3 to skip it. A masked
    action does not raise: candidate 0 is executed.

    ## Observation Space
    A dictionary (``observation="flat"``: the same numbers as one Box). Features are float32, clipped to [-10, 10],
    and listed one by one in `hetgym.envs.expert_cache.features.SCHEMA`.

    | key | shape | dtype | content |
    |---|---|---|---|
    | ``candidates`` | (A, 17) | float32 | features of each possible action, zeros where it is masked |
    | ``action_mask`` | (A,) | int8 | 1 where an action is allowed |
    | ``context`` | (19,) | float32 | features of the situation, which kind of decision it is among them |

    ## Starting State
    Empty pools (``start: cold``) or full ones (``warm``). The routing is that of (seed, episode).

    ## Reward
    ``stall``: minus the seconds by which events were delayed since the last decision, over the mean ideal time of a
    step's pass, minus the price of lost precision.

    ## Episode End
    Terminates after the last event of the trace; is never truncated.

    ## Information
    At the end ``info["metrics"]``: ``hit_rate``, ``stall`` (s), ``tokens_per_second``, ``time_per_output_token`` (s),
    ``time_to_first_token`` (s), ``bytes_moved``, ``uploads``, ``misses``, ``late``, ``on_cpu``, ``skipped``,
    ``prefetch_precision``, ``precision_loss``, ``seconds`` (simulated). ``env.unwrapped.episode()`` gives the timeline.

    ## Arguments
    ``scenario`` (a name, a path or a `Scenario`; default ``tiny-moe``), its settings by keyword
    (``cache_fraction=0.5``), ``reward``, ``observation`` (``dict`` or ``flat``), ``render_mode`` (``rgb_array``: the
    timeline), ``copy`` (default true; false gives live arrays that are valid for one further step).
    ``reset(options={"instance": ...})`` plays a `RoutingTrace` of the scenario's model.

    ```python
    import gymnasium
    import hetgym

    env = gymnasium.make("hetgym/ExpertCache-v0", scenario="v2-lite", cache_fraction=0.5)
    observation, info = env.reset(seed=0)
    ```

    ## References
    arXiv:2608.07911: events are atomic, uploads and the policy's own time count.
    Belady, IBM Systems Journal 5(2), 1966, doi:10.1147/sj.52.0078: the best evictions with hindsight.

    ## Version History
    v0: the first.
    """

    def __init__(self, scenario: str | Path | Scenario = "tiny-moe", **arguments: Any) -> None:
        """Prepares the environment; the arguments are those of the class."""
        super().__init__(scenario, **arguments)


class ExpertCacheVectorEnv(BatchedEnv):
    """`ExpertCacheEnv`, many at once; takes ``num_envs`` besides, and ``copy`` is false by default.

    Of each timeline the last 1,024 intervals are remembered.
    """

    def __init__(self, scenario: str | Path | Scenario = "tiny-moe", **arguments: Any) -> None:
        """Prepares the environments; the arguments are those of `ExpertCacheEnv`, and ``num_envs``."""
        super().__init__(scenario, **arguments)
