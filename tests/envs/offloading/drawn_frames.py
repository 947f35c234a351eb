"""Frames by chance, and the two systems with the constants of their papers."""

from dataclasses import asdict, dataclass

import numpy as np

from hetgym.envs.offloading.allocation import FRAME, ROOM, SYSTEMS, frame_value
from hetgym.envs.offloading.frames_reference import Allocation, FrameRules

COMMON = {"duration": 1.0, "bandwidth": 2e6, "overhead": 1.1, "cycles": 100.0, "kappa": 1e-26}
DROO = FrameRules("droo", noise=5e-17, power=3.0, efficiency=0.7, unit=1e6, **COMMON)
LYDROO = FrameRules(
    "lydroo", noise=10**-20.4, power=0.1, max_frequency=3e8, rate_weight=20e6, energy_weight=1e16, energy_budget=0.08,
    unit=1e14, **COMMON,
)  # fmt: skip


@dataclass(frozen=True)
class Frame:
    """What is known before a frame's decisions, and what they are."""

    gains: np.ndarray
    weights: np.ndarray
    queues: np.ndarray
    energy_queues: np.ndarray
    choices: np.ndarray


def drawn_frame(rules: FrameRules, luck: np.random.Generator, num_users: int) -> Frame:
    """Returns a frame; some queues are empty, some users have spent no energy."""
    droo = rules.system == "droo"
    distances = luck.uniform(2.5, 5.2, num_users) if droo else np.linspace(120, 255, num_users)
    antennas, exponent = (4.11, 2.8) if droo else (3.0, 3.0)
    mean_gains = antennas * (3e8 / (4 * np.pi * 915e6 * distances)) ** exponent
    queues = luck.exponential(10 ** luck.uniform(4, 7.5), num_users) * (luck.random(num_users) < 0.9)
    energy_queues = luck.exponential(10 ** luck.uniform(-4, 0), num_users) * (luck.random(num_users) < 0.7)
    return Frame(
        mean_gains * luck.exponential(size=num_users),
        luck.choice([1.0, 1.5], num_users),
        queues,
        energy_queues,
        (luck.random(num_users) < luck.random()).astype(np.int8),
    )


def record(rules: FrameRules) -> np.ndarray:
    """Returns the constants as kernels read them."""
    law = np.zeros(1, FRAME)
    for name, value in asdict(rules).items():
        law[name] = SYSTEMS.index(value) if name == "system" else value
    return law


def allocated(rules: FrameRules, frame: Frame) -> Allocation:
    """Returns what the kernel makes of a frame."""
    num_users = frame.gains.size
    shares, bits, energies = np.full((3, num_users), np.nan)
    value = frame_value(
        record(rules), frame.gains, frame.weights, frame.queues, frame.energy_queues, frame.choices,
        np.zeros(num_users, ROOM), shares, bits, energies,
    )  # fmt: skip
    return Allocation(shares, bits, energies, value)
