import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.compilation import kernel
from hetgym.hardware_models import (
    busy_idle_energy,
    cycle_energy,
    db_to_linear,
    dbm_to_watts,
    free_space_path_loss,
    line_of_sight_probability,
    linear_to_db,
    log_distance_path_loss,
    macro_path_loss,
    noise_density,
    shannon_rate,
    small_cell_path_loss,
    transmit_energy,
    uav_path_loss,
)
from hetgym.hardware_models.radio import rate_of, uav_gain


@kernel
def rate_in_kernel(power: float, gain: float, bandwidth: float, noise: float, interference: float) -> float:
    return rate_of(power, gain, bandwidth, noise, interference)


@kernel
def uav_gain_in_kernel(height: float, horizontal_distance: float) -> float:
    return uav_gain(height, horizontal_distance)


@kernel
def suburban_gain_in_kernel(height: float, horizontal_distance: float) -> float:
    return uav_gain(height, horizontal_distance, 5.8e9, 4.88, 0.43, 0.1, 21.0)


def test_decibels() -> None:
    assert db_to_linear(0.0) == 1.0
    assert db_to_linear(-30.0) == pytest.approx(1e-3)
    assert db_to_linear(3.0) == pytest.approx(1.99526231)  # 10^0.3
    assert linear_to_db(1000.0) == pytest.approx(30.0)
    assert linear_to_db(2.0) == pytest.approx(3.01029996)
    for decibels in (-174.0, -3.0, 0.5, 90.0):
        assert linear_to_db(db_to_linear(decibels)) == pytest.approx(decibels)
    # Products of ratios are sums of decibels.
    assert db_to_linear(7.0) * db_to_linear(-12.0) == pytest.approx(db_to_linear(-5.0))


def test_dbm_counts_from_a_milliwatt() -> None:
    assert dbm_to_watts(0.0) == pytest.approx(1e-3)
    assert dbm_to_watts(30.0) == pytest.approx(1.0)
    assert dbm_to_watts(23.0) == pytest.approx(0.199526231)  # 10^-0.7
    assert dbm_to_watts(-174.0) == pytest.approx(3.98107171e-21)  # 10^-20.4


def test_noise_is_boltzmann_times_temperature() -> None:
    assert noise_density() == pytest.approx(4.0038821e-21)  # 1.380649e-23 x 290
    assert linear_to_db(noise_density() / 1e-3) == pytest.approx(-173.975, abs=1e-3)
    assert noise_density(9.0) == pytest.approx(4.0038821e-21 * 7.94328235)  # 10^0.9
    assert noise_density(3.0, 580.0) == pytest.approx(2 * noise_density(3.0))


def test_rate_is_shannons() -> None:
    # The noise is 1e-15 x 1e6 = 1e-9 W; 3e-9 W against it: log2(1 + 3) = 2 bits per second and hertz.
    assert shannon_rate(1.0, 3e-9, 1e6, 1e-15) == pytest.approx(2e6)
    # With 2e-9 W of others: log2(1 + 3 / (1 + 2)) = 1.
    assert shannon_rate(1.0, 3e-9, 1e6, 1e-15, 2e-9) == pytest.approx(1e6)
    assert shannon_rate(0.0, 3e-9, 1e6, 1e-15) == 0.0
    assert shannon_rate(1.0, 0.0, 1e6, 1e-15) == 0.0


def test_rate_scales_as_its_units() -> None:
    rate = shannon_rate(0.1, 1e-11, 5e6, 4e-21, 1e-13)
    # Time in milliseconds: W x 1e-3, Hz x 1e-3, and W/Hz as before.
    assert shannon_rate(1e-4, 1e-11, 5e3, 4e-21, 1e-16) == pytest.approx(rate * 1e-3)
    # Energy in millijoules.
    assert shannon_rate(100.0, 1e-11, 5e6, 4e-18, 1e-10) == pytest.approx(rate)
    # Twice the bandwidth with as much noise in all doubles the rate; so does twice the power with it.
    alone = shannon_rate(0.1, 1e-11, 5e6, 4e-21)
    assert shannon_rate(0.1, 1e-11, 1e7, 2e-21) == pytest.approx(2 * alone)
    assert shannon_rate(0.2, 1e-11, 1e7, 4e-21) == pytest.approx(2 * alone)


def test_rate_far_below_the_noise_is_proportional_to_power() -> None:
    # log2(1 + x) = x / ln 2; 1 + x is 1 in floating point.
    assert shannon_rate(1.0, 1e-30, 1e6, 1e-15) == pytest.approx(1e-30 / 1e-15 / np.log(2.0), rel=1e-12, abs=0.0)
    # With ever more bandwidth the rate nears the same limit.
    limit = 0.1 * 1e-12 / (4e-21 * np.log(2.0))
    rates = [shannon_rate(0.1, 1e-12, bandwidth, 4e-21) for bandwidth in (1e6, 1e8, 1e10)]
    assert rates == sorted(rates)
    assert rates[-1] == pytest.approx(limit, rel=2e-3)
    assert rates[-1] < limit


def test_path_losses_are_those_of_the_standards() -> None:
    assert macro_path_loss(1000.0) == pytest.approx(128.1)
    assert macro_path_loss(200.0) == pytest.approx(128.1 - 37.6 * 0.69897)  # log10(0.2)
    assert small_cell_path_loss(1000.0) == pytest.approx(140.7)
    assert small_cell_path_loss(100.0) == pytest.approx(104.0)
    assert log_distance_path_loss(500.0, 133.6, 35.0) == pytest.approx(133.6 - 35.0 * 0.30103)  # log10(0.5)
    # 20 log10(4 pi x 1000 x 1e9 / 299792458) = 20 log10(41916.9)
    assert free_space_path_loss(1000.0, 1e9) == pytest.approx(92.4478, abs=1e-4)


@pytest.mark.parametrize(
    ("loss", "per_decade"),
    [
        (macro_path_loss, 37.6),
        (small_cell_path_loss, 36.7),
        (lambda distance: log_distance_path_loss(distance, 133.6, 35.0), 35.0),
        (lambda distance: free_space_path_loss(distance, 2e9), 20.0),
        (lambda frequency: free_space_path_loss(50.0, frequency), 20.0),
    ],
)
def test_each_decade_adds_the_same(loss: Callable[[float], float], per_decade: float) -> None:
    for start in (10.0, 35.0, 420.0):
        assert loss(10 * start) - loss(start) == pytest.approx(per_decade)
        assert loss(2 * start) - loss(start) == pytest.approx(per_decade * 0.30103, rel=1e-5)


def test_free_space_counts_wavelengths() -> None:
    assert free_space_path_loss(70.0, 3e9) == pytest.approx(free_space_path_loss(7.0, 3e10))
    # At a distance of wavelength / (4 pi) there is no loss.
    assert free_space_path_loss(299_792_458.0 / 1e9 / (4 * np.pi), 1e9) == pytest.approx(0.0, abs=1e-9)


def test_line_of_sight_depends_on_the_elevation() -> None:
    # At 45 degrees: exp(-0.16 x (45 - 9.61)) = exp(-5.6624) = 0.0034742; 1 / (1 + 9.61 x 0.0034742) = 0.967691.
    assert line_of_sight_probability(100.0, 100.0) == pytest.approx(0.967691, abs=1e-6)
    # Right below, at 90 degrees: exp(-12.8624) = 2.5937e-6; 1 / (1 + 2.4925e-5).
    assert line_of_sight_probability(100.0, 0.0) == pytest.approx(1 - 2.4925e-5, abs=1e-8)
    # At an elevation of a degrees it is 1 / (1 + a).
    assert line_of_sight_probability(np.tan(np.radians(9.61)), 1.0) == pytest.approx(1 / 10.61)
    assert line_of_sight_probability(np.tan(np.radians(4.88)), 1.0, 4.88, 0.43) == pytest.approx(1 / 5.88)
    assert line_of_sight_probability(30.0, 70.0) == pytest.approx(line_of_sight_probability(300.0, 700.0))
    away = [line_of_sight_probability(100.0, distance) for distance in (0.0, 50.0, 200.0, 1000.0)]
    assert away == sorted(away, reverse=True)


def test_uav_path_loss_is_free_space_and_an_expected_excess() -> None:
    # 141.4214 m at 2 GHz: 20 log10(4 pi x 141.4214 x 2e9 / 299792458) = 20 log10(11856.0) = 81.4788 dB;
    # the excess is 0.967691 x 1 + 0.032309 x 20 = 1.6139 dB.
    assert uav_path_loss(100.0, 100.0) == pytest.approx(83.0927, abs=1e-3)
    without = uav_path_loss(100.0, 100.0, excess_in_sight=0.0, excess_out_of_sight=0.0)
    assert without == pytest.approx(free_space_path_loss(np.hypot(100.0, 100.0), 2e9))
    assert uav_path_loss(100.0, 100.0, 2e10) - uav_path_loss(100.0, 100.0) == pytest.approx(20.0)
    # Ten times as far at the same elevation, and hence the same chance of a line of sight.
    assert uav_path_loss(1000.0, 500.0) - uav_path_loss(100.0, 50.0) == pytest.approx(20.0)
    # Out on the horizon there is a line of sight with probability 1 / (1 + 9.61 exp(0.16 x 9.61)) = 0.02188.
    excess = uav_path_loss(1.0, 1e6) - free_space_path_loss(1e6, 2e9)
    assert excess == pytest.approx(20.0 - 19.0 * 0.02188, abs=1e-3)


def test_there_is_a_best_height() -> None:
    heights = np.geomspace(1.0, 1e4, 200)
    losses = uav_path_loss(heights, np.full(200, 200.0))
    assert 50.0 < heights[losses.argmin()] < 1000.0


def test_kernels_use_the_same_formulas() -> None:
    for gain in (1e-7, 3e-12, 1e-25):
        arguments = (0.1, gain, 1e7, 4e-21, 1e-14)
        assert rate_in_kernel(*arguments) == pytest.approx(shannon_rate(*arguments), rel=1e-14, abs=0.0)
    for distance in (0.0, 40.0, 900.0):
        loss = uav_path_loss(100.0, distance)
        assert uav_gain_in_kernel(100.0, distance) == pytest.approx(db_to_linear(-loss), rel=1e-13, abs=0.0)
        loss = uav_path_loss(100.0, distance, 5.8e9, 4.88, 0.43, 0.1, 21.0)
        assert suburban_gain_in_kernel(100.0, distance) == pytest.approx(db_to_linear(-loss), rel=1e-13, abs=0.0)


def test_energy_of_sending_is_power_times_time() -> None:
    # 1 Mbit at 2 Mbit/s is half a second at 0.5 W.
    assert transmit_energy(0.5, 1e6, 2e6) == 0.25
    assert transmit_energy(0.5, 0.0, 2e6) == 0.0
    assert transmit_energy(0.5, 1e6, 2e6) == busy_idle_energy(0.1, 0.5, 0.0, 0.5)


def test_no_bit_costs_less_than_shannons_limit() -> None:
    gain, noise = 1e-11, 4e-21
    limit = noise * np.log(2.0) / gain
    costs = [transmit_energy(power, 1.0, shannon_rate(power, gain, 1e6, noise)) for power in (1e-8, 1e-5, 1e-3, 1.0)]
    assert costs == sorted(costs)
    assert limit < costs[0] < 1.0001 * limit


def test_offloading_pays_where_the_channel_is_good() -> None:
    # 400 kbit, 1 Gcycle at 1 GHz with kappa 1e-27: 1 J here. To send them at 0.5 W takes less when it takes under 2 s.
    local = cycle_energy(1e-27, 1e9, 1e9)
    near, far = (shannon_rate(0.5, db_to_linear(-macro_path_loss(d)), 1e6, noise_density()) for d in (200.0, 20_000.0))
    assert transmit_energy(0.5, 4e5, near) < local < transmit_energy(0.5, 4e5, far)


def published_rate(gain: float, noise_power: float) -> float:
    """As `mec_morl_multipolicy` has it: the gain is divided by the noise before it is squared, and then again."""
    return 16.6e6 * np.log2(1 + 0.01 * (gain / noise_power) ** 2 / noise_power)


@pytest.mark.parametrize(("distance", "rate"), [(275.0, 1.55e6), (1500.0, 0.0042e6)])
def test_rates_of_gmorl_are_shannons(distance: float, rate: float) -> None:
    # Edge servers are 50 ... 500 m away and the cloud 1 ... 2 km, uniformly: 275 m and 1500 m are the median distances.
    # "8 dB shadowing" is a constant loss there, and the median of the exponential fading power is ln 2.
    # At 275 m: 133.6 + 35 log10(0.275) + 8 = 121.98 dB, and ln 2 another 1.59: a gain of 4.39e-13.
    # The noise is 3.981e-21 x 16.6e6 = 6.609e-14 W. 0.01 x 4.39e-13 / 6.609e-14 = 0.0665, and
    # 16.6e6 log2(1.0665) = 1.54 Mbit/s.
    loss = log_distance_path_loss(distance, 133.6, 35.0) + 8.0
    gain = db_to_linear(-loss) * np.log(2.0)
    assert shannon_rate(0.01, gain, 16.6e6, dbm_to_watts(-174.0)) == pytest.approx(rate, rel=0.01)


def test_rates_published_for_gmorl_are_hundreds_of_times_too_high() -> None:
    gain = db_to_linear(-(log_distance_path_loss(275.0, 133.6, 35.0) + 8.0)) * np.log(2.0)
    noise_power = dbm_to_watts(-174.0) * 16.6e6
    # (4.39e-13 / 6.609e-14)^2 = 44.2; x 0.01 / 6.609e-14 = 6.68e12; 16.6e6 log2(6.68e12) = 707 Mbit/s.
    assert published_rate(gain, noise_power) == pytest.approx(707e6, rel=0.002)
    assert published_rate(gain, noise_power) / shannon_rate(0.01, gain, 16.6e6, dbm_to_watts(-174.0)) > 400


def test_median_rate_of_gmorl_over_all_places_and_fades() -> None:
    rng = np.random.default_rng(0)
    for nearest, farthest, rate in ((50.0, 500.0, 1.55e6), (1000.0, 2000.0, 0.0042e6)):
        distance = rng.uniform(nearest, farthest, 200_000)
        gain = db_to_linear(-log_distance_path_loss(distance, 133.6, 35.0) - 8.0) * rng.exponential(size=200_000)
        assert np.median(shannon_rate(0.01, gain, 16.6e6, dbm_to_watts(-174.0))) == pytest.approx(rate, rel=0.03)


@pytest.mark.parametrize(
    "formula",
    [
        db_to_linear,
        linear_to_db,
        dbm_to_watts,
        macro_path_loss,
        small_cell_path_loss,
        lambda x: log_distance_path_loss(x, 133.6, 35.0),
        lambda x: free_space_path_loss(x, 2e9),
        lambda x: line_of_sight_probability(x, 2.0 * x + 1.0),
        lambda x: uav_path_loss(x, 2.0 * x + 1.0),
        lambda x: shannon_rate(x, 1e-9 * x, 1e6 * x, 4e-21, 1e-12 * x),
        lambda x: shannon_rate(0.1, 1e-9 * x, 1e6, 4e-21),
        lambda x: transmit_energy(x, 2.0 * x, 3.0 * x),
    ],
)
def test_arrays_give_what_floats_give(formula: Callable[[Any], Any]) -> None:
    given = np.array([[0.5, 1.0, 2.5], [7.0, 11.0, 150.0]])
    together = formula(given)
    assert isinstance(together, np.ndarray)
    assert together.shape == given.shape
    for index, each in np.ndenumerate(given):
        alone = formula(float(each))
        assert isinstance(alone, float)
        assert together[index] == pytest.approx(alone, rel=1e-14)


POSITIVE: list[tuple[Callable[..., Any], dict[str, Any], list[str]]] = [
    (linear_to_db, {"ratio": 1.0}, ["ratio"]),
    (noise_density, {}, ["temperature"]),
    (shannon_rate, {"power": 1.0, "gain": 1.0, "bandwidth": 1.0, "noise": 1.0}, ["bandwidth", "noise"]),
    (macro_path_loss, {"distance": 1.0}, ["distance"]),
    (small_cell_path_loss, {"distance": 1.0}, ["distance"]),
    (log_distance_path_loss, {"distance": 1.0, "at_one_kilometre": 1.0, "per_decade": 1.0}, ["distance"]),
    (free_space_path_loss, {"distance": 1.0, "frequency": 1.0}, ["distance", "frequency"]),
    (line_of_sight_probability, {"height": 1.0, "horizontal_distance": 1.0}, ["height", "a", "b"]),
    (uav_path_loss, {"height": 1.0, "horizontal_distance": 1.0}, ["height", "frequency", "a", "b"]),
    (transmit_energy, {"power": 1.0, "bits": 1.0, "rate": 1.0}, ["rate"]),
]

NOT_NEGATIVE: list[tuple[Callable[..., Any], dict[str, Any], list[str]]] = [
    (noise_density, {}, ["noise_figure_db"]),
    (shannon_rate, POSITIVE[2][1], ["power", "gain", "interference"]),
    (log_distance_path_loss, POSITIVE[5][1], ["per_decade"]),
    (line_of_sight_probability, POSITIVE[7][1], ["horizontal_distance"]),
    (uav_path_loss, POSITIVE[8][1], ["horizontal_distance", "excess_in_sight", "excess_out_of_sight"]),
    (transmit_energy, POSITIVE[9][1], ["power", "bits"]),
]


@pytest.mark.parametrize("wrong", [-1.0, np.nan, np.inf, -np.inf, np.array([1.0, np.nan]), np.array([[0.5, -2.0]])])
@pytest.mark.parametrize(
    ("formula", "arguments", "name"),
    [(formula, arguments, name) for formula, arguments, names in POSITIVE + NOT_NEGATIVE for name in names],
)
def test_negative_and_not_finite_are_refused_by_name(
    formula: Callable[..., Any], arguments: dict[str, Any], name: str, wrong: Any
) -> None:
    with pytest.raises(HetgymError, match=rf"^{name} must be .* \(given: ") as error:
        formula(**{**arguments, name: wrong})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("formula", "arguments", "name"),
    [(formula, arguments, name) for formula, arguments, names in POSITIVE for name in names],
)
def test_zero_is_refused_where_it_divides(formula: Callable[..., Any], arguments: dict[str, Any], name: str) -> None:
    with pytest.raises(HetgymError, match=rf"^{name} must be finite and greater than 0 \(given: 0\)"):
        formula(**{**arguments, name: 0.0})


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, 5000.0, -1001.0, np.array([0.0, np.nan])])
@pytest.mark.parametrize(
    ("formula", "name"),
    [
        (db_to_linear, "decibels"),
        (dbm_to_watts, "power"),
        (lambda at_one_kilometre: log_distance_path_loss(1.0, at_one_kilometre, 35.0), "at_one_kilometre"),
    ],
)
def test_decibels_out_of_range_are_refused(formula: Callable[..., Any], name: str, wrong: Any) -> None:
    with pytest.raises(HetgymError, match=rf"^{name} must be between -1000 and 1000 dB \(given: "):
        formula(**{name: wrong})


def test_noise_figure_out_of_range_is_refused() -> None:
    with pytest.raises(HetgymError, match=r"^noise_figure_db must be between -1000 and 1000 dB \(given: 5000\)"):
        noise_density(5000.0)


def test_checked_formulas_compile_nothing_and_need_no_torch() -> None:
    code = (
        "import sys\n"
        "from numba.core import dispatcher\n"
        "def refuse(*_):\n"
        "    raise AssertionError('compiled')\n"
        "dispatcher.Dispatcher.compile = refuse\n"
        "from hetgym.hardware_models import shannon_rate, uav_path_loss\n"
        "assert shannon_rate(1.0, 3e-9, 1e6, 1e-15) > 0 and uav_path_loss(100.0, 50.0) > 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
