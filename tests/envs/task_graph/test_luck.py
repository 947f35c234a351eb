from typing import Any

import numpy as np
import pytest
from scipy import stats

from hetgym import HetgymError
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.luck import NOISES, Luck, draw_slowdowns, drawn_outages
from hetgym.hardware_models import load_platform
from hetgym.workloads import random_task_graph

TASKS = 20_000
PLATFORM = load_platform("readys-2c2g")


def drawn(num_tasks: int = TASKS, seed: int = 3, episode: int = 0, **settings: Any) -> np.ndarray:
    return draw_slowdowns(Luck(**settings), PLATFORM, seed, episode, num_tasks)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 1.7])
@pytest.mark.parametrize("noise", ["lognormal", "gamma", "normal"])
def test_factors_follow_their_distribution(noise: str, sigma: float) -> None:
    law = {
        "lognormal": stats.lognorm(s=sigma, scale=np.exp(-(sigma**2) / 2)),
        "gamma": stats.gamma(a=sigma**-2, scale=sigma**2),
        "normal": stats.truncnorm(-1 / sigma, np.inf, loc=1, scale=sigma),
    }[noise]
    factors = drawn(noise=noise, noise_sigma=sigma)
    assert (factors == factors[:, :1]).all()
    assert stats.kstest(factors[:, 0], law.cdf).pvalue > 0.001
    assert (factors >= 0).all()
    assert np.isfinite(factors).all()


def test_normal_noise_has_a_floor() -> None:
    factors = drawn(noise="normal", noise_sigma=0.5, noise_floor=0.8)[:, 0]
    assert stats.kstest(factors, stats.truncnorm(-0.2 / 0.5, np.inf, loc=1, scale=0.5).cdf).pvalue > 0.001


def test_without_noise_tasks_take_what_is_expected() -> None:
    assert (drawn(noise="none", noise_sigma=0.5) == 1).all()


@pytest.mark.parametrize("noise", NOISES[1:])
def test_luck_depends_on_nothing_else(noise: str) -> None:
    settings = {"noise": noise, "noise_sigma": 0.4, "straggler_probability": 0.2, "misestimation_sigma": 0.3}
    all_drawn = [drawn(12, seed, episode, **settings) for seed, episode in ((5, 0), (6, 0), (5, 1))]
    assert drawn(7, 5, 0, **settings).tolist() == all_drawn[0][:7].tolist()
    assert len(np.unique(all_drawn)) == 3 * 12 * 4


@pytest.mark.parametrize("noise", NOISES[1:])
@pytest.mark.parametrize("sigma", [1e-3, 3.0])
def test_extreme_levels_are_finite(noise: str, sigma: float) -> None:
    factors = drawn(noise=noise, noise_sigma=sigma)
    assert np.isfinite(factors).all()
    assert (factors >= 0).all()


def test_stragglers() -> None:
    factors = drawn(straggler_probability=0.1, straggler_factor=5.0)[:, 0]
    assert set(factors) == {1.0, 5.0}
    assert stats.binomtest(int((factors == 5).sum()), TASKS, 0.1).pvalue > 0.001


def test_noise_of_some_kinds_only() -> None:
    factors = drawn(100, noise="gamma", noisy=("gpu",))
    noisy = [kind == "gpu" for kind in PLATFORM.kinds]
    assert (factors[:, ~np.array(noisy)] == 1).all()
    assert (factors[:, noisy] != 1).all()


def test_misestimation_of_devices() -> None:
    name = PLATFORM.devices[0].name
    factors = drawn(5, misestimation=((name, 1.5), ("gpu", 2.0)))
    assert factors.tolist() == [[1.5, 1.0, 2.0, 2.0]] * 5
    drawn_ones = np.array([drawn(2, seed=seed, misestimation_sigma=0.4) for seed in range(3000)])
    assert (drawn_ones[:, 0] == drawn_ones[:, 1]).all()
    law = stats.lognorm(s=0.4, scale=np.exp(-0.08))
    assert stats.kstest(drawn_ones[:, 0].ravel(), law.cdf).pvalue > 0.001


def test_outages_are_exponential() -> None:
    outages = drawn_outages(Luck(mean_uptime=10.0, mean_downtime=2.0), PLATFORM, 1, 0, 2e4)
    of_first = outages[outages[:, 0] == 0]
    assert len(of_first) > 1000
    up = of_first[1:, 1] - of_first[:-1, 2]
    assert stats.kstest(up, stats.expon(scale=10).cdf).pvalue > 0.001
    assert stats.kstest(of_first[:, 2] - of_first[:, 1], stats.expon(scale=2).cdf).pvalue > 0.001
    assert (np.diff(of_first[:, 1:].ravel()) > 0).all()
    assert drawn_outages(Luck(), PLATFORM, 1, 0, 2e4).shape == (0, 3)


@pytest.mark.parametrize(
    ("slowdown", "message"),
    [
        (np.ones(4), r"slowdown: must be 5 numbers, or 5 x 2, not float64 \(4,\)"),
        (np.array(["1"] * 5), "must be 5 numbers"),
        (np.array([1, 1, -1, 1, 1]), r"slowdown of task 't2' is -1"),
        (np.array([1, np.nan, 1, 1, 1]), r"slowdown of task 't1' is nan: must be finite"),
        (np.array([[1, 1]] * 3 + [[1, np.inf]] * 2), r"slowdown of task 't3' is inf: must be finite"),
    ],
)
def test_wrong_slowdown_is_refused(slowdown: np.ndarray, message: str) -> None:
    graph = random_task_graph(5, 2)
    with pytest.raises(HetgymError, match=message):
        Instance(graph, graph.default_platform(), slowdown)


@pytest.mark.parametrize(
    ("outages", "message"),
    [
        ([[2, 0, 1]], "outages: there is no device 2; devices are 0 to 1"),
        ([[0, 3, 1]], "device 0 is down from 3 to 1 s: outages must end"),
        ([[0, 1, 3], [0, 2, 4]], "not overlap"),
        ([[0, -1, 3]], "at 0 or later"),
        ([[0, 1, np.nan]], "outages must end"),
        ([1.0, 2.0], r"shape \(N, 3\)"),
    ],
)
def test_wrong_outages_are_refused(outages: Any, message: str) -> None:
    graph = random_task_graph(5, 2)
    with pytest.raises(HetgymError, match=message):
        Instance(graph, graph.default_platform(), outages=np.array(outages))


def test_information() -> None:
    graph = random_task_graph(4, 2, seed=1)
    slowdown = np.arange(8.0).reshape(4, 2)
    expected, exact, blind = (
        Instance(graph, graph.default_platform(), slowdown, information)  # type: ignore[arg-type]
        for information in ("expected", "exact", "blind")
    )
    assert expected.duration.tolist() == graph.duration.tolist()
    assert exact.duration.tolist() == (graph.duration * slowdown).tolist()
    assert blind.duration.tolist() == [[graph.duration.mean()] * 2] * 4
    for instance in (expected, exact, blind):
        assert instance.realised_duration.tolist() == (graph.duration * slowdown).tolist()
