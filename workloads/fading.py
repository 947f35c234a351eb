"""How a radio channel fades: random factors of its power gain, as functions of (stream, block) alone."""

from __future__ import annotations

import numpy as np

from ..compilation import inner, kernel
from .counter_random import random_normal, random_normals, random_uniform

FADINGS = ("none", "rayleigh", "rician")
"""In the order of the codes that kernels take."""

_NONE, _RAYLEIGH, _RICIAN = range(3)

_WAVES = 16
_FLOOR = 1e-12


@kernel
def fading_power(
    kind: int, k_factor: float, doppler: float, stream: np.uint64, block: int, block_seconds: float
) -> float:
    """Returns the factor by which fading multiplies a power gain in a block; its mean is 1, its least value 1e-12.

    Without `doppler`, blocks are independent. With it, the factor changes as for someone who moves among scatterers
    all around: it is the power of 16 waves from all sides, and in Rician fading of a direct one, whose field has
    the autocorrelation J0(2 pi doppler tau). Its distribution over streams is then that of Rayleigh or Rician fading
    to within 0.01 of probability.

    Source: Clarke, Bell System Technical Journal 47(6), 1968, doi:10.1002/j.1538-7305.1968.tb00069.x; as a sum of
    waves: Xiao, Zheng, Beaulieu, IEEE Transactions on Wireless Communications 5(12), 2006,
    doi:10.1109/TWC.2006.256990.

    Args:
        kind: Place in `FADINGS`.
        k_factor: Of Rician fading: power of the direct path / power of the scattered ones.
        doppler: Largest shift of frequency, Hz: speed x carrier frequency / speed of light. 0: blocks are independent.
        stream: Of the link.
        block: At whose beginning the factor is taken.
        block_seconds: How long a block is, s; inf where there is one block, 0.
    """
    if kind == _NONE:
        return 1.0
    if doppler > 0:
        time = block * block_seconds if block != 0 else 0.0
        power = _moving_power(k_factor if kind == _RICIAN else 0.0, doppler, stream, time)
    elif kind == _RAYLEIGH:
        power = -np.log(random_uniform(stream, block))
    else:
        x, y = random_normals(stream, 2 * block)
        direct = np.sqrt(2.0 * k_factor)
        power = ((x + direct) ** 2 + y**2) / (2.0 * (1.0 + k_factor))
    return max(power, _FLOOR)


@inner
def _moving_power(k_factor: float, doppler: float, stream: np.uint64, time: float) -> float:
    in_phase = quadrature = 0.0
    for wave in range(_WAVES):
        angle = 2.0 * np.pi * (wave + random_uniform(stream, 2 * wave)) / _WAVES
        phase = _phase(angle, doppler, stream, wave, time)
        in_phase += np.cos(phase)
        quadrature += np.sin(phase)
    angle = 2.0 * np.pi * random_uniform(stream, 2 * _WAVES)
    phase = _phase(angle, doppler, stream, _WAVES, time)
    direct = np.sqrt(k_factor * _WAVES)
    in_phase += direct * np.cos(phase)
    quadrature += direct * np.sin(phase)
    return float((in_phase**2 + quadrature**2) / (_WAVES * (1.0 + k_factor)))


@inner
def _phase(angle: float, doppler: float, stream: np.uint64, wave: int, time: float) -> float:
    start = random_uniform(stream, 2 * wave + 1)
    return float(2.0 * np.pi * (doppler * time * np.cos(angle) + start))


@kernel
def shadowing_db(stream: np.uint64, index: int, deviation: float) -> float:
    """Returns by how much a link is above or below its mean path loss, dB; normal, with mean 0.

    Source: Gudmundson 1991, doi:10.1049/el:19911328, for the log-normal law.

    Args:
        stream: Of all links.
        index: Of the link.
        deviation: Standard deviation, dB.
    """
    return float(deviation * random_normal(stream, 2 * index))
