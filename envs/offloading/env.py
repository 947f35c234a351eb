"""The Gymnasium faces of the offloading family."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from gymnasium import spaces

from ...errors import HetgymError
from ..core.scenario import Scenario, load_scenario
from ..core.single import SingleEnv
from ..core.vector import BatchedEnv
from .rules import OBJECTIVES
from .scenario import OffloadScenario
from .simulator import OffloadSimulator


class OffloadEnv(SingleEnv):
    """Decides what is computed on the user's own device, at the edge or in the cloud, and where a network is split.

    ## Description
    Users have requests: tasks in bits and cycles, inferences of a network, prompts for a language model. Each is
    computed by the user's own device, or sent over a radio cell or a line to a server, whole or after its first layers.
    Channels fade from block to block; processors, radios and servers are shared or queue. Each request is decided once.
    Frames (wireless power, Lyapunov queues) decide for user after user, and then allocate. ``docs/offloading.md`` and
    ``docs/offloading-frames.md`` have all rules.

    ## Action Space
    ``Discrete(1 + T * O)``, for T targets (a server behind an access point) with O options (split points, or variants).
    Candidate 0 is the user's own device; candidate ``1 + (target - 1) * O + option`` sends the request to a target.
    What does not exist is masked. A masked action does not raise: the lowest-index allowed one is executed. In frames:
    0 local, 1 offload.

    ## Observation Space
    A dictionary (``observation="flat"``: the same numbers as one Box). Features are float32, clipped to [-10, 10],
    and listed one by one in `hetgym.envs.offloading.features.SCHEMA` (frames: `frame_features.FRAME_SCHEMA`).

    | key | shape | dtype | content |
    |---|---|---|---|
    | ``candidates`` | (A, 14) | float32 | features of each possible action: what is forecast to come of it |
    | ``action_mask`` | (A,) | int8 | 1 where an action is allowed |
    | ``context`` | (11,) | float32 | features of the situation, the weights of the objectives first |

    ## Starting State
    Nobody is on the way. Places, speeds, weights and requests are those of (seed, episode).

    ## Reward
    Minus the weighted sum of delay, energy and misses, normalised by the scenario's units. ``forecast`` (default)
    charges what is forecast with the decision, and later what the forecast was wrong by; ``realised`` charges when the
    outcome is known. Both add up to the same. Frames: the weighted computation rate, or drift plus penalty.

    ## Episode End
    Terminates with the last request (``num_requests``, or all that arrive up to the ``horizon``), which includes all
    that is on the way then; is never truncated.

    ## Information
    At the end ``info["metrics"]``: ``delay`` (s), ``energy`` (J), ``missed``, ``error`` and ``offloaded`` (shares), all
    means over requests; ``cost``, the weighted cost of a request; ``makespan`` (s), the last end; ``requests``;
    ``delay_cost``, ``energy_cost`` and ``misses_cost``, the normalised sums. Frames: ``computation_rate``,
    ``weighted_rate`` (bit/s), ``backlog`` (bits), ``energy`` (J a frame). ``env.unwrapped.episode()`` gives a row for
    each request.

    ## Arguments
    ``scenario`` (a name, a path or a `Scenario`; default ``mec-gmorl``), its settings by keyword (``num_edges=8``,
    ``weights=(0.5, 0.5, 0)``), ``reward``, ``observation`` (``dict`` or ``flat``), ``render_mode`` (``rgb_array``),
    ``copy`` (default true; false gives live arrays that are valid for one further step). ``reset(options={"instance":
    ...})`` plays an `Instance` that fits the scenario's bounds.

    ```python
    import gymnasium
    import hetgym

    env = gymnasium.make("hetgym/Offload-v0", scenario="mec-gmorl", num_edges=8)
    observation, info = env.reset(seed=0)
    ```

    ## References
    Mao, You, Zhang, Huang, Letaief, IEEE Communications Surveys & Tutorials 19(4), 2017,
    doi:10.1109/COMST.2017.2745201: the models of offloading.
    Kang et al., Neurosurgeon, ASPLOS 2017, doi:10.1145/3037697.3037698: where a network is split.

    ## Version History
    v0: the first.
    """

    def __init__(self, scenario: str | Path | Scenario = "mec-gmorl", **arguments: Any) -> None:
        """Prepares the environment; the arguments are those of the class."""
        super().__init__(scenario, **arguments)


class OffloadVectorEnv(BatchedEnv):
    """`OffloadEnv`, many at once; takes ``num_envs`` besides, and ``copy`` is false by default."""

    def __init__(self, scenario: str | Path | Scenario = "mec-gmorl", **arguments: Any) -> None:
        """Prepares the environments; the arguments are those of `OffloadEnv`, and ``num_envs``."""
        super().__init__(scenario, **arguments)


class OffloadContinuousEnv(SingleEnv):
    """Decides what share of a request is offloaded, with what power it is sent, and how fast the rest is computed.

    ## Description
    The world is that of `OffloadEnv`. Each request is computed in two parts at once: a share goes to the target to
    which the user could send fastest now, the rest stays on the user's own device. It ends when both parts have.

    ## Action Space
    ``Box(-1, 1, (3,))``: the share, from 0 to 1; the power, from 1 % of the user's own to all of it; the speed of the
    user's processor, from a tenth of its own to all of it, at which a unit of work takes speed^2 times its energy.

    ## Observation Space
    That of `OffloadEnv`: the forecasts of whole requests at full power and speed.

    ## Starting State
    That of `OffloadEnv`.

    ## Reward
    That of `OffloadEnv`.

    ## Episode End
    That of `OffloadEnv`.

    ## Information
    That of `OffloadEnv`.

    ## Arguments
    Those of `OffloadEnv`; the default scenario is ``mec-partial``.

    ```python
    import gymnasium
    import hetgym

    env = gymnasium.make("hetgym/OffloadContinuous-v0", scenario="mec-partial")
    observation, info = env.reset(seed=0)
    ```

    ## References
    Mao, You, Zhang, Huang, Letaief, IEEE Communications Surveys & Tutorials 19(4), 2017,
    doi:10.1109/COMST.2017.2745201: partial offloading, speeds and powers.

    ## Version History
    v0: the first.
    """

    def __init__(self, scenario: str | Path | Scenario = "mec-partial", **arguments: Any) -> None:
        """Prepares the environment; the arguments are those of the class."""
        super().__init__(scenario, continuous=True, **arguments)


class OffloadContinuousVectorEnv(BatchedEnv):
    """`OffloadContinuousEnv`, many at once; takes ``num_envs`` besides, and ``copy`` is false by default."""

    def __init__(self, scenario: str | Path | Scenario = "mec-partial", **arguments: Any) -> None:
        """Prepares the environments; the arguments are those of `OffloadContinuousEnv`, and ``num_envs``."""
        super().__init__(scenario, continuous=True, **arguments)


class MOOffloadEnv(SingleEnv):
    """`OffloadEnv` with a vector reward: minus delay, energy and misses, as mo-gymnasium takes it.

    ## Description
    That of `OffloadEnv`.

    ## Action Space
    That of `OffloadEnv`.

    ## Observation Space
    That of `OffloadEnv`; the first entries of ``context`` are the weights of the episode, for agents that are
    conditioned on preferences.

    ## Starting State
    That of `OffloadEnv`.

    ## Reward
    float64 (3,), a fresh array: minus delay, energy and misses, normalised by the scenario's units. ``reward_space`` is
    its space, ``reward_dim`` is 3.

    ## Episode End
    That of `OffloadEnv`.

    ## Information
    That of `OffloadEnv`.

    ## Arguments
    Those of `OffloadEnv`. ``weights=(...)`` gives the weights of all episodes; without it each draws its own.

    ```python
    import gymnasium
    import hetgym

    env = gymnasium.make("hetgym/MOOffload-v0", observation="flat")
    observation, info = env.reset(seed=0)
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert reward.shape == (3,)
    ```

    ## References
    Felten et al., A toolkit for reliable benchmarking and research in multi-objective reinforcement learning, NeurIPS
    2023: mo-gymnasium's conventions.

    ## Version History
    v0: the first.
    """

    reward_dim = len(OBJECTIVES)

    def __init__(self, scenario: str | Path | Scenario = "mec-gmorl", **arguments: Any) -> None:
        """Prepares the environment; the arguments are those of the class."""
        super().__init__(_of_requests(scenario), **arguments)
        self.reward_space = spaces.Box(-np.inf, np.inf, (self.reward_dim,), np.float64)

    def _reward(self) -> Any:
        assert isinstance(self.simulator, OffloadSimulator)
        return -self.simulator.costs[0]


class MOOffloadVectorEnv(BatchedEnv):
    """`MOOffloadEnv`, many at once; takes ``num_envs`` besides, and ``copy`` is false by default."""

    reward_dim = len(OBJECTIVES)

    def __init__(self, scenario: str | Path | Scenario = "mec-gmorl", **arguments: Any) -> None:
        """Prepares the environments; the arguments are those of `MOOffloadEnv`, and ``num_envs``."""
        super().__init__(_of_requests(scenario), **arguments)
        self.reward_space = spaces.Box(-np.inf, np.inf, (self.reward_dim,), np.float64)

    def _reward(self) -> Any:
        assert isinstance(self.simulator, OffloadSimulator)
        return -self.simulator.costs


def _of_requests(scenario: str | Path | Scenario) -> Scenario:
    """Returns a scenario that has several objectives.

    Raises:
        HetgymError: If it has not.
    """
    loaded = load_scenario(scenario)
    if not isinstance(loaded, OffloadScenario) or not loaded.objectives:
        raise HetgymError(
            f"scenario {loaded.name!r} has no vector of rewards; choose one of requests, such as mec-gmorl"
        )
    return loaded
