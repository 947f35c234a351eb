from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from hetgym.compilation import kernel
from hetgym.workloads.counter_random import random_integer, random_stream, random_uniform

COUNT = 100_000


@kernel
def draw_uniforms(out: NDArray[np.float64], seed: int, episode: int, purpose: int) -> None:
    stream = random_stream(seed, episode, purpose)
    for index in range(out.size):
        out[index] = random_uniform(stream, index)


@kernel
def draw_integers(out: NDArray[np.int64], seed: int, bound: int) -> None:
    stream = random_stream(seed, 0, 0)
    for index in range(out.size):
        out[index] = random_integer(stream, index, bound)


@kernel
def uniform_at(stream: np.uint64, index: int) -> float:
    return random_uniform(stream, index)


def uniforms(seed: int, episode: int, purpose: int, count: int = COUNT) -> NDArray[np.float64]:
    out = np.empty(count)
    draw_uniforms(out, seed, episode, purpose)
    return out


def test_numbers_are_splitmix64() -> None:
    published = (
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    )
    drawn = [uniform_at(np.uint64(1234567), index) for index in range(1, 6)]
    assert drawn == [((bits >> 11) + 1) * 2.0**-53 for bits in published]


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1, 2**63 - 1, -1])
def test_uniform_fills_the_unit_interval(seed: int) -> None:
    numbers = uniforms(seed, 0, 0)
    assert numbers.min() > 0
    assert numbers.max() <= 1
    assert abs(numbers.mean() - 1 / 2) < 0.004
    assert abs(numbers.var() - 1 / 12) < 0.002
    in_each_tenth = np.bincount((numbers * 10).astype(int), minlength=10)[:10] / COUNT
    assert np.abs(in_each_tenth - 0.1).max() < 0.005


@pytest.mark.parametrize(
    "keys",
    [
        [(seed, 0, 0) for seed in range(5)],
        [(0, episode, 0) for episode in range(5)],
        [(0, 0, purpose) for purpose in range(5)],
        [(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 0), (0, 1, 1)],
    ],
    ids=["seeds", "episodes", "purposes", "swapped"],
)
def test_streams_are_uncorrelated(keys: list[tuple[int, int, int]]) -> None:
    numbers = np.stack([uniforms(*key) for key in keys])
    between = np.corrcoef(numbers)[~np.eye(len(keys), dtype=bool)]
    assert np.abs(between).max() < 0.02
    for one, other in pairwise(numbers):
        assert abs(np.corrcoef(one[1:], other[:-1])[0, 1]) < 0.02


def test_successive_numbers_are_uncorrelated() -> None:
    numbers = uniforms(0, 0, 0)
    for lag in (1, 2, 3, 10):
        assert abs(np.corrcoef(numbers[lag:], numbers[:-lag])[0, 1]) < 0.02


def test_number_depends_on_key_and_index_alone() -> None:
    assert (uniforms(3, 4, 5, 10) == uniforms(3, 4, 5, 1000)[:10]).all()


@pytest.mark.parametrize("bound", [1, 2, 7, 1000])
def test_integers_are_uniform_in_range(bound: int) -> None:
    numbers = np.empty(COUNT, np.int64)
    draw_integers(numbers, 0, bound)
    counts = np.bincount(numbers, minlength=bound)
    assert numbers.min() == 0
    assert numbers.max() == bound - 1
    assert np.abs(counts - COUNT / bound).max() < 6 * np.sqrt(COUNT / bound)
