"""What a radio link gives and costs: gain from distance, rate from gain, energy from time.

Quantities are floats, or numpy arrays of one shape, and the result is like them. All units are SI, and losses in dB.
A quantity that is out of its range is refused by its name; `rate_of` and `uav_gain`, which kernels call too, check
nothing.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from ..compilation import formula
from .costs import refuse_unless, require_non_negative, require_positive

Quantity = TypeVar("Quantity", float, NDArray[np.float64])

SPEED_OF_LIGHT = 299_792_458.0
"""m/s, exact by the definition of the metre."""

BOLTZMANN = 1.380649e-23
"""J/K, exact by the definition of the kelvin."""

URBAN_A, URBAN_B = 9.61, 0.16
"""Of `line_of_sight_probability` in a city: degrees, and per degree."""

URBAN_EXCESS_IN_SIGHT, URBAN_EXCESS_OUT_OF_SIGHT = 1.0, 20.0
"""Of `uav_path_loss` in a city, dB."""


MACRO_LOSS, SMALL_CELL_LOSS = (128.1, 37.6), (140.7, 36.7)
"""At 1 km and per decade of distance, dB: of `macro_path_loss` and `small_cell_path_loss`."""


@formula
def rate_of(
    power: Quantity | float,
    gain: Quantity,
    bandwidth: Quantity | float,
    noise: float,
    interference: Quantity | float,
) -> Quantity:
    """Returns the `shannon_rate`, bit/s, unchecked; for kernels.

    It is exact where the signal is far below the noise, too.
    """
    rate: Quantity = bandwidth * np.log1p(power * gain / (noise * bandwidth + interference)) / np.log(2.0)
    return rate


@formula
def _free_space_loss(distance: Quantity, frequency: float) -> Quantity:
    loss: Quantity = 20.0 * np.log10(4.0 * np.pi * frequency / SPEED_OF_LIGHT * distance)
    return loss


@formula
def _sight_probability(height: Quantity | float, horizontal_distance: Quantity, a: float, b: float) -> Quantity:
    elevation = np.degrees(np.arctan2(height, horizontal_distance))
    probability: Quantity = 1.0 / (1.0 + a * np.exp(-b * (elevation - a)))
    return probability


@formula
def _uav_loss(
    height: Quantity | float,
    horizontal_distance: Quantity,
    frequency: float,
    a: float,
    b: float,
    excess_in_sight: float,
    excess_out_of_sight: float,
) -> Quantity:
    in_sight = _sight_probability(height, horizontal_distance, a, b)
    excess = in_sight * excess_in_sight + (1.0 - in_sight) * excess_out_of_sight
    loss: Quantity = _free_space_loss(np.hypot(height, horizontal_distance), frequency) + excess
    return loss


@formula
def uav_gain(
    height: Quantity | float,
    horizontal_distance: Quantity,
    frequency: float = 2e9,
    a: float = URBAN_A,
    b: float = URBAN_B,
    excess_in_sight: float = URBAN_EXCESS_IN_SIGHT,
    excess_out_of_sight: float = URBAN_EXCESS_OUT_OF_SIGHT,
) -> Quantity:
    """Returns the power gain that `uav_path_loss` leaves, unchecked; for kernels."""
    loss = _uav_loss(height, horizontal_distance, frequency, a, b, excess_in_sight, excess_out_of_sight)
    gain: Quantity = 10.0 ** (-loss / 10.0)
    return gain


def db_to_linear(decibels: Quantity) -> Quantity:
    """Returns a ratio of powers: ``10**(decibels / 10)``.

    Args:
        decibels: dB; of any sign.

    Raises:
        HetgymError: If it is not between -1000 and 1000.
    """
    _require_decibels(decibels=decibels)
    ratio: Quantity = np.power(10.0, decibels / 10.0)
    return ratio


def linear_to_db(ratio: Quantity) -> Quantity:
    """Returns decibels, dB: ``10 log10(ratio)``.

    Args:
        ratio: Of two powers.

    Raises:
        HetgymError: If it is not finite and greater than 0.
    """
    require_positive(ratio=ratio)
    decibels: Quantity = 10.0 * np.log10(ratio)
    return decibels


def dbm_to_watts(power: Quantity) -> Quantity:
    """Returns a power in W: ``10**((power - 30) / 10)``.

    Args:
        power: dBm, decibels above 1 mW; a density in dBm/Hz gives one in W/Hz.

    Raises:
        HetgymError: If it is not between -1000 and 1000.
    """
    _require_decibels(power=power)
    return db_to_linear(power) / 1000.0


def noise_density(noise_figure_db: float = 0.0, temperature: float = 290.0) -> float:
    """Returns the power of thermal noise in 1 Hz, W/Hz: ``k temperature 10**(noise_figure_db / 10)``.

    At 290 K and 0 dB it is -174 dBm/Hz, rounded.

    Source: Nyquist, Physical Review 32(1), 1928, doi:10.1103/PhysRev.32.110; the figure: Friis, Proceedings of the
    IRE 32(7), 1944, doi:10.1109/JRPROC.1944.232049.

    Args:
        noise_figure_db: What the receiver adds, dB, at least 0.
        temperature: K.

    Raises:
        HetgymError: If `noise_figure_db` is negative or above 1000, or `temperature` not finite and greater than 0.
    """
    require_non_negative(noise_figure_db=noise_figure_db)
    _require_decibels(noise_figure_db=noise_figure_db)
    require_positive(temperature=temperature)
    return BOLTZMANN * temperature * db_to_linear(noise_figure_db)


def shannon_rate(
    power: Quantity | float,
    gain: Quantity,
    bandwidth: Quantity | float,
    noise: float,
    interference: Quantity | float = 0.0,
) -> Quantity:
    """Returns the capacity of a channel, bit/s.

    ``bandwidth log2(1 + power gain / (noise bandwidth + interference))``

    Source: Shannon, Proceedings of the IRE 37(1), 1949, doi:10.1109/JRPROC.1949.232969, theorem 2; interference counts
    as noise.

    Args:
        power: With which it is sent, W.
        gain: Power received / power sent.
        bandwidth: Hz.
        noise: Density of the noise, W/Hz.
        interference: Power received from others, W.

    Raises:
        HetgymError: If `bandwidth` or `noise` is not greater than 0, another argument negative, or one not finite.
    """
    require_non_negative(power=power, gain=gain, interference=interference)
    require_positive(bandwidth=bandwidth, noise=noise)
    return rate_of(power, gain, bandwidth, noise, interference)


def log_distance_path_loss(distance: Quantity, at_one_kilometre: float, per_decade: float) -> Quantity:
    """Returns a path loss that is a straight line over the logarithm of the distance, dB.

    ``at_one_kilometre + per_decade log10(distance / 1 km)``

    Args:
        distance: m.
        at_one_kilometre: Loss at 1 km, dB.
        per_decade: What ten times the distance adds, dB: ten times the path loss exponent.

    Raises:
        HetgymError: If `distance` is not greater than 0, `per_decade` negative, one of them not finite, or
            `at_one_kilometre` not between -1000 and 1000.
    """
    require_positive(distance=distance)
    _require_decibels(at_one_kilometre=at_one_kilometre)
    require_non_negative(per_decade=per_decade)
    loss: Quantity = at_one_kilometre + per_decade * np.log10(distance / 1000.0)
    return loss


def macro_path_loss(distance: Quantity) -> Quantity:
    """Returns the path loss to a macro cell at 2 GHz, dB: ``128.1 + 37.6 log10(distance / 1 km)``.

    Source: 3GPP TR 36.814, annex A.2.1.1.

    Args:
        distance: m; the model was made for 35 m and more.

    Raises:
        HetgymError: If `distance` is not finite and greater than 0.
    """
    return log_distance_path_loss(distance, *MACRO_LOSS)


def small_cell_path_loss(distance: Quantity) -> Quantity:
    """Returns the path loss to a pico cell at 2 GHz, dB: ``140.7 + 36.7 log10(distance / 1 km)``.

    Source: 3GPP TR 36.814, annex A.2.1.1, model 1. Some papers on offloading print 140.1 for 140.7.

    Args:
        distance: m; the model was made for 10 m and more.

    Raises:
        HetgymError: If `distance` is not finite and greater than 0.
    """
    return log_distance_path_loss(distance, *SMALL_CELL_LOSS)


def free_space_path_loss(distance: Quantity, frequency: float) -> Quantity:
    """Returns the path loss between two isotropic antennas in free space, dB.

    ``20 log10(4 pi distance frequency / c)``

    Source: Friis, Proceedings of the IRE 34(5), 1946, doi:10.1109/JRPROC.1946.234568.

    Args:
        distance: m.
        frequency: Of the carrier, Hz.

    Raises:
        HetgymError: If an argument is not finite and greater than 0.
    """
    require_positive(distance=distance, frequency=frequency)
    return _free_space_loss(distance, frequency)


def line_of_sight_probability(
    height: Quantity | float, horizontal_distance: Quantity, a: float = URBAN_A, b: float = URBAN_B
) -> Quantity:
    """Returns how likely nothing stands between someone on the ground and what flies above.

    ``1 / (1 + a exp(-b (elevation - a)))``, with the elevation in degrees. The defaults are those of a city; suburbs
    have 4.88 and 0.43, dense cities 12.08 and 0.11, high-rise ones 27.23 and 0.08.

    Source: Al-Hourani, Kandeepan, Lardner, IEEE Wireless Communications Letters 3(6), 2014,
    doi:10.1109/LWC.2014.2342736. The constants, which follow from theirs: Bor-Yaliniz, El-Keyi, Yanikomeroglu, ICC
    2016, doi:10.1109/ICC.2016.7510820.

    Args:
        height: m.
        horizontal_distance: m; 0 right below.
        a: Of the surroundings, degrees.
        b: Of the surroundings, per degree.

    Raises:
        HetgymError: If `horizontal_distance` is negative, another argument not greater than 0, or one is not finite.
    """
    require_positive(height=height, a=a, b=b)
    require_non_negative(horizontal_distance=horizontal_distance)
    return _sight_probability(height, horizontal_distance, a, b)


def uav_path_loss(
    height: Quantity | float,
    horizontal_distance: Quantity,
    frequency: float = 2e9,
    a: float = URBAN_A,
    b: float = URBAN_B,
    excess_in_sight: float = URBAN_EXCESS_IN_SIGHT,
    excess_out_of_sight: float = URBAN_EXCESS_OUT_OF_SIGHT,
) -> Quantity:
    """Returns the expected path loss between the ground and what flies above it, dB.

    It is `free_space_path_loss`, and an excess loss that depends on whether there is a line of sight, averaged over
    both by `line_of_sight_probability`. The defaults are those of a city; suburbs have excess losses of 0.1 and 21 dB,
    dense cities 1.6 and 23 dB, high-rise ones 2.3 and 34 dB.

    Source: as for `line_of_sight_probability`.

    Args:
        height: m.
        horizontal_distance: m; 0 right below.
        frequency: Of the carrier, Hz.
        a: Of the surroundings, degrees.
        b: Of the surroundings, per degree.
        excess_in_sight: dB.
        excess_out_of_sight: dB.

    Raises:
        HetgymError: If `horizontal_distance` or an excess is negative, another argument not greater than 0, or one is
            not finite.
    """
    require_positive(height=height, frequency=frequency, a=a, b=b)
    require_non_negative(
        horizontal_distance=horizontal_distance,
        excess_in_sight=excess_in_sight,
        excess_out_of_sight=excess_out_of_sight,
    )
    return _uav_loss(height, horizontal_distance, frequency, a, b, excess_in_sight, excess_out_of_sight)


def transmit_energy(power: Quantity | float, bits: Quantity, rate: Quantity) -> Quantity:
    """Returns the energy of a transmission, J: ``power bits / rate``.

    Source: Mao, You, Zhang, Huang, Letaief, IEEE Communications Surveys & Tutorials 19(4), 2017,
    doi:10.1109/COMST.2017.2745201, section II.

    Args:
        power: With which it is sent, W.
        bits: That are sent.
        rate: bit/s.

    Raises:
        HetgymError: If `rate` is not greater than 0, another argument is negative, or one is not finite.
    """
    require_non_negative(power=power, bits=bits)
    require_positive(rate=rate)
    return power * bits / rate


def _require_decibels(**quantities: float | NDArray[np.float64]) -> None:
    for name, given in quantities.items():
        refuse_unless(np.less_equal(np.abs(given), 1000), name, given, "between -1000 and 1000 dB")
