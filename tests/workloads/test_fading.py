import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.special import j0

from hetgym.compilation import kernel
from hetgym.workloads.counter_random import random_stream, substream
from hetgym.workloads.fading import FADINGS, fading_power, shadowing_db

NONE, RAYLEIGH, RICIAN = (FADINGS.index(name) for name in ("none", "rayleigh", "rician"))
COUNT = 100_000
WAVES = 16
MOVING, STILL = 50.0, 0.0


@kernel
def draw_over_links(
    out: NDArray[np.float64], seed: int, kind: int, k_factor: float, doppler: float, block: int, seconds: float
) -> None:
    for link in range(out.size):
        stream = substream(random_stream(seed, 0, 9), link)
        out[link] = fading_power(kind, k_factor, doppler, stream, block, seconds)


@kernel
def draw_over_blocks(
    out: NDArray[np.float64], stream: np.uint64, kind: int, k_factor: float, doppler: float, seconds: float
) -> None:
    for block in range(out.size):
        out[block] = fading_power(kind, k_factor, doppler, stream, block, seconds)


@kernel
def draw_shadowing(out: NDArray[np.float64], stream: np.uint64, deviation: float) -> None:
    for link in range(out.size):
        out[link] = shadowing_db(stream, link, deviation)


def over_links(
    kind: int, k_factor: float, doppler: float, block: int = 7, seconds: float = 1e-3, seed: int = 0
) -> NDArray[np.float64]:
    out = np.empty(COUNT)
    draw_over_links(out, seed, kind, k_factor, doppler, block, seconds)
    return out


def over_blocks(
    stream: int, kind: int, k_factor: float, doppler: float, seconds: float, count: int = COUNT
) -> NDArray[np.float64]:
    out = np.empty(count)
    draw_over_blocks(out, np.uint64(stream), kind, k_factor, doppler, seconds)
    return out


def law(k_factor: float) -> object:
    """Of the power: a noncentral chi-squared variable with two degrees of freedom, scaled to a mean of 1."""
    return stats.ncx2(2, 2 * k_factor, scale=1 / (2 * (1 + k_factor))) if k_factor else stats.expon()


def test_no_fading_is_one() -> None:
    assert (over_blocks(3, NONE, 5.0, MOVING, 1e-3, 100) == 1.0).all()


@pytest.mark.parametrize("doppler", [STILL, MOVING])
@pytest.mark.parametrize("k_factor", [0.0, 1.0, 10.0])
def test_moments_over_links(k_factor: float, doppler: float) -> None:
    power = over_links(RICIAN, k_factor, doppler)
    # The variance is (1 + 2K) / (1 + K)^2; 16 waves of one strength take 1/16 of that of the scattered power.
    variance = (1 + 2 * k_factor) / (1 + k_factor) ** 2
    if doppler:
        variance -= 1 / (WAVES * (1 + k_factor) ** 2)
    assert power.mean() == pytest.approx(1.0, abs=0.01)
    assert power.var() == pytest.approx(variance, rel=0.03)
    assert power.min() > 0


@pytest.mark.parametrize("k_factor", [0.0, 0.5, 3.0, 10.0])
def test_independent_blocks_have_the_law(k_factor: float) -> None:
    kind = RICIAN if k_factor else RAYLEIGH
    for power in (over_links(kind, k_factor, STILL), over_blocks(11, kind, k_factor, STILL, 1e-3)):
        assert stats.kstest(power, law(k_factor).cdf).pvalue > 0.01


@pytest.mark.parametrize("block", [0, 7, 100_000])
@pytest.mark.parametrize("k_factor", [0.0, 3.0, 10.0])
def test_moving_links_have_the_law_to_within_a_hundredth(k_factor: float, block: int) -> None:
    power = over_links(RICIAN if k_factor else RAYLEIGH, k_factor, MOVING, block)
    # 0.0043 is what 100,000 draws of the law itself stay within 95 times in 100: 1.36 / sqrt(100,000).
    assert stats.kstest(power, law(k_factor).cdf).statistic < 0.01 + 0.0043


def test_rayleigh_is_rician_without_a_direct_path() -> None:
    assert (over_links(RAYLEIGH, 5.0, MOVING) == over_links(RICIAN, 0.0, MOVING)).all()
    assert (over_links(RAYLEIGH, 5.0, STILL) == over_links(RAYLEIGH, 0.0, STILL)).all()


@pytest.mark.parametrize("doppler", [STILL, MOVING])
def test_direct_path_alone_does_not_fade(doppler: float) -> None:
    # The standard deviation is about sqrt(2 / K).
    assert over_links(RICIAN, 1e8, doppler) == pytest.approx(1.0, abs=1e-3)


def test_autocorrelation_is_that_of_clarke() -> None:
    seconds = 1e-3
    start = over_links(RAYLEIGH, 0.0, MOVING, 20, seconds)
    # The angles of wave n are uniform on the n-th sixteenth of the circle.
    angle = 2 * np.pi * (np.arange(WAVES)[:, None] + (np.arange(1000) + 0.5) / 1000) / WAVES
    for lag in (1, 3, 5, 7, 10, 15, 20, 40, 100):
        later = over_links(RAYLEIGH, 0.0, MOVING, 20 + lag, seconds)
        covariance = np.mean((start - 1) * (later - 1))
        field = j0(2 * np.pi * MOVING * lag * seconds)
        of_a_wave = np.exp(2j * np.pi * MOVING * lag * seconds * np.cos(angle)).mean(axis=1)
        assert of_a_wave.mean() == pytest.approx(field, abs=1e-6)
        # Of Gaussian fields the power has the square; a finite number of waves takes something from it.
        assert covariance == pytest.approx(field**2 - np.sum(np.abs(of_a_wave) ** 2) / WAVES**2, abs=0.03)
        assert covariance == pytest.approx(field**2, abs=1 / WAVES + 0.03)


def test_autocorrelation_in_rician_fading() -> None:
    # With K = 3: (J0^2 + 2K J0 E[cos]) / (1 + K)^2, where a direct path from anywhere makes E[cos] = J0 too.
    start = over_links(RICIAN, 3.0, MOVING, 0)
    for lag in (2, 5, 8, 20):
        later = over_links(RICIAN, 3.0, MOVING, lag)
        squared = j0(2 * np.pi * MOVING * lag * 1e-3) ** 2
        assert np.mean((start - 1) * (later - 1)) == pytest.approx(7 / 16 * squared, abs=0.02)


def test_time_average_of_one_link_is_one() -> None:
    for stream in range(5):
        assert over_blocks(stream, RAYLEIGH, 0.0, MOVING, 0.37).mean() == pytest.approx(1.0, abs=0.03)


def test_independent_blocks_are_uncorrelated() -> None:
    for kind in (RAYLEIGH, RICIAN):
        power = over_blocks(5, kind, 1.0, STILL, 1e-3)
        for lag in (1, 2, 10):
            assert abs(np.corrcoef(power[lag:], power[:-lag])[0, 1]) < 0.02


@pytest.mark.parametrize("doppler", [STILL, MOVING])
@pytest.mark.parametrize("kind", [RAYLEIGH, RICIAN])
def test_links_and_seeds_are_uncorrelated(kind: int, doppler: float) -> None:
    power, other = over_links(kind, 1.0, doppler), over_links(kind, 1.0, doppler, seed=1)
    assert abs(np.corrcoef(power[1:], power[:-1])[0, 1]) < 0.02
    assert abs(np.corrcoef(power, other)[0, 1]) < 0.02


def test_factor_depends_on_stream_and_time_alone() -> None:
    for kind, doppler in ((RAYLEIGH, STILL), (RAYLEIGH, MOVING), (RICIAN, STILL), (RICIAN, MOVING)):
        power = over_blocks(8, kind, 2.0, doppler, 1e-3, 50)
        for block in (31, 0, 49, 31):
            assert fading_power(kind, 2.0, doppler, np.uint64(8), block, 1e-3) == power[block]
    # Blocks of half the length: every second one begins at the same time.
    halves = over_blocks(8, RAYLEIGH, 0.0, MOVING, 2.0**-11, 100)
    assert (halves[::2] == over_blocks(8, RAYLEIGH, 0.0, MOVING, 2.0**-10, 50)).all()
    # Twice as fast for half as long: as many wavelengths.
    assert fading_power(RICIAN, 1.0, 40.0, np.uint64(8), 3, 0.5) == fading_power(
        RICIAN, 1.0, 20.0, np.uint64(8), 3, 1.0
    )


def test_factor_changes_little_within_a_hundredth_of_a_wavelength() -> None:
    power = over_blocks(4, RAYLEIGH, 0.0, MOVING, 0.01 / MOVING, 10_000)
    assert 0 < np.abs(np.diff(power)).max() < 0.06 * power.max()


def test_endless_block_begins_at_zero() -> None:
    for doppler in (STILL, MOVING):
        endless = fading_power(RICIAN, 1.0, doppler, np.uint64(8), 0, np.inf)
        assert endless == fading_power(RICIAN, 1.0, doppler, np.uint64(8), 0, 1.0)


def test_deepest_fade_is_not_zero() -> None:
    # The stream whose number at 0 is 1, of which the logarithm is 0: SplitMix64's finaliser backwards from all ones.
    value = 2**64 - 1
    for shift, factor in ((31, 0x94D049BB133111EB), (27, 0xBF58476D1CE4E5B9), (30, 1)):
        value ^= (value >> shift) ^ (value >> 2 * shift)
        value = value * pow(factor, -1, 2**64) % 2**64
    assert fading_power(RAYLEIGH, 0.0, STILL, np.uint64(value), 0, 1.0) == 1e-12


def test_shadowing_is_normal_and_independent() -> None:
    shadowing = np.empty(COUNT)
    draw_shadowing(shadowing, np.uint64(6), 8.0)
    assert stats.kstest(shadowing, stats.norm(0.0, 8.0).cdf).pvalue > 0.01
    for lag in (1, 2):
        assert abs(np.corrcoef(shadowing[lag:], shadowing[:-lag])[0, 1]) < 0.02
        assert abs(np.corrcoef(shadowing[lag:] ** 2, shadowing[:-lag] ** 2)[0, 1]) < 0.02
    assert shadowing_db(np.uint64(6), 5, 8.0) == shadowing[5]
    assert shadowing_db(np.uint64(6), 5, 4.0) == shadowing[5] / 2
    assert shadowing_db(np.uint64(6), 5, 0.0) == 0.0
