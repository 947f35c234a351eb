import numpy as np
import pytest
from scipy import stats

from hetgym import HetgymError
from hetgym.envs.task_graph.instance import Instance
from hetgym.envs.task_graph.noise import NOISES, draw_slowdowns
from hetgym.workloads import random_task_graph

EPISODES, TASKS = 400, 50


def drawn(noise: str, sigma: float) -> np.ndarray:
    zeros = np.zeros(EPISODES, np.int64)
    return draw_slowdowns(noise, sigma, zeros + 3, np.arange(EPISODES), TASKS)


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("noise", ["lognormal", "gamma", "normal"])
def test_factors_follow_their_distribution(noise: str, sigma: float) -> None:
    law = {
        "lognormal": stats.lognorm(s=sigma, scale=np.exp(-(sigma**2) / 2)),
        "gamma": stats.gamma(a=sigma**-2, scale=sigma**2),
        "normal": stats.truncnorm(-1 / sigma, np.inf, loc=1, scale=sigma),
    }[noise]
    factors = drawn(noise, sigma)
    assert stats.kstest(factors.ravel(), law.cdf).pvalue > 0.001
    assert (factors >= 0).all()
    assert np.isfinite(factors).all()
    if noise != "normal":
        assert law.mean() == pytest.approx(1)


def test_without_noise_tasks_take_what_is_expected() -> None:
    assert (drawn("none", 0.5) == 1).all()


@pytest.mark.parametrize("noise", NOISES[1:])
def test_luck_depends_on_nothing_else(noise: str) -> None:
    seeds, episodes = np.array([5, 6, 5, 7]), np.array([0, 0, 1, 9])
    together = draw_slowdowns(noise, 0.4, seeds, episodes, 7)
    for row in range(4):
        alone = draw_slowdowns(noise, 0.4, seeds[row : row + 1], episodes[row : row + 1], 12)
        assert alone[0, :7].tolist() == together[row].tolist()
    assert len(np.unique(together)) == together.size


@pytest.mark.parametrize("noise", NOISES[1:])
@pytest.mark.parametrize("sigma", [1e-3, 3.0])
def test_extreme_levels_are_finite(noise: str, sigma: float) -> None:
    factors = drawn(noise, sigma)
    assert np.isfinite(factors).all()
    assert (factors >= 0).all()


@pytest.mark.parametrize(
    ("slowdown", "message"),
    [
        (np.ones(4), r"slowdown: must be 5 numbers, not float64 \(4,\)"),
        (np.array(["1"] * 5), "must be 5 numbers"),
        (np.array([1, 1, -1, 1, 1]), r"slowdown of task 't2' is -1"),
        (np.array([1, np.nan, 1, 1, 1]), r"slowdown of task 't1' is nan: must be finite"),
    ],
)
def test_wrong_slowdown_is_refused(slowdown: np.ndarray, message: str) -> None:
    graph = random_task_graph(5, 2)
    with pytest.raises(HetgymError, match=message):
        Instance(graph, graph.default_platform(), slowdown)
