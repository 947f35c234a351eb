"""Episodes by chance: the reference keeps the rules, its forecasts and charges add up, and queues are as in theory."""

import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetgym.envs.offloading.checker import violations
from hetgym.envs.offloading.instance import SHARINGS
from hetgym.envs.offloading.reference import Run
from hetgym.envs.offloading.table import COLUMNS, REMOTE, WHOLE

_path = Path(__file__).with_name("small_offloads.py")
_spec = importlib.util.spec_from_file_location("small_offloads", _path)
small_offloads = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small_offloads)

HOME = [{"local": 1}]


def costs_of(run, seed):
    """Plays an episode to its end, by chance; the costs of all steps, raw and normalised, and all rewards."""
    luck, steps = random.Random(seed), []
    while not run.is_over:
        if run.continuous:
            steps.append(run.decide_parts(*small_offloads.drawn_parts(luck, run.instance)))
        else:
            steps.append(run.decide(*small_offloads.drawn_choice(luck, run.instance, run.current)))
    assert [step.done for step in steps] == [False] * (len(steps) - 1) + [True]
    return np.array([step.costs for step in steps]), np.array([step.reward for step in steps])


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("sharing", SHARINGS)
@pytest.mark.parametrize("seed", range(12))
def test_the_rules_are_kept_and_both_rewards_have_the_same_sum(seed, sharing, continuous):
    instance = small_offloads.drawn_instance(seed, sharing=sharing, always_local=True)
    rules = small_offloads.drawn_rules(seed, continuous)
    for reward in ("forecast", "realised"):
        run = Run(instance, reward=reward, **rules)
        costs, rewards = costs_of(run, seed)
        table = run.table()
        assert violations(table, instance, metrics=run.metrics(), **rules) == []
        misses = np.where(table["missed"], 1.0, table["error"]).sum()
        total = np.array([table["delay"].sum(), table["energy"].sum(), misses])
        assert costs.sum(axis=0) == pytest.approx(total, rel=1e-9)
        units = np.array([*instance.units, 1.0])
        assert rewards == pytest.approx(-(costs / units) @ instance.weights)


def test_rows_have_what_the_table_says():
    run = Run(small_offloads.drawn_instance(1, always_local=True))
    costs_of(run, 1)
    table = run.table()
    assert tuple(table.columns) == COLUMNS
    assert all(np.issubdtype(table[name].dtype, np.integer) for name in WHOLE)
    assert table["missed"].dtype == np.bool_
    assert set(table["target"] > 0) == {False, True}
    for name in COLUMNS:
        assert (table[name].notna() == ((name not in REMOTE) | (table["target"] > 0))).all()


works = st.lists(st.floats(0.01, 10), min_size=1, max_size=8)


@settings(max_examples=settings.default.max_examples // 2)
@given(works, st.sampled_from((0.0, 0.3, 2.0)), st.floats(0.1, 4))
def test_a_shared_unit_of_which_all_ask_at_once(works, fixed, per_job):
    # While a request does its next little bit of work, all that have more left do as much.
    instance = small_offloads.small_instance(
        [{"arrival": 0, "work": work} for work in works],
        [HOME, [{"shared": [0, 0, 0, 1]}]],
        servers=[{"fixed": fixed, "per_job": per_job}],
    )
    run = Run(instance)
    for _ in works:
        run.decide(1)
    theory = [fixed * own + per_job * sum(min(own, other) for other in works) for own in works]
    assert list(run.table()["delay"]) == pytest.approx(theory, rel=1e-9)


@settings(max_examples=settings.default.max_examples // 2)
@given(works, st.floats(0, 3), st.floats(0.1, 4))
def test_a_serial_unit_is_a_queue(works, gap, speed):
    # Lindley's recursion: who comes next waits for what is left of the one before.
    instance = small_offloads.small_instance(
        [{"arrival": gap * number, "work": work} for number, work in enumerate(works)],
        [HOME, [{"serial": [0, 0, 0, 1]}]],
        servers=[{"speed": speed}],
    )
    run = Run(instance)
    for _ in works:
        run.decide(1)
    wait, delays = 0.0, []
    for work in works:
        delays.append(wait + work / speed)
        wait = max(delays[-1] - gap, 0)
    assert list(run.table()["delay"]) == pytest.approx(delays, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("seed", range(20))
def test_forecasts_and_what_they_impose_are_exact_where_all_work_is_shared(seed):
    luck = random.Random(seed)
    arrivals = sorted(luck.uniform(0, 5) for _ in range(8))
    instance = small_offloads.small_instance(
        [{"arrival": arrival, "work": luck.uniform(0.1, 2), "deadline": luck.uniform(1, 5)} for arrival in arrivals],
        [HOME, [{"shared": [0, 0, 0, 1], "down": 0.5}]],
        servers=[{"fixed": luck.choice((0.0, 0.3)), "per_job": luck.uniform(0.2, 1)}],
        targets=[{"latency": luck.choice((0.0, 0.2))}],
    )
    if instance.targets["latency"][0] > 0:
        instance.requests["arrival"] *= 100  # each has left before the next reaches the server
    run = Run(instance)
    for _ in arrivals:
        forecast = run.forecast(1)
        step = run.decide(1)
        assert step.costs[:2] == pytest.approx((forecast.delay + forecast.imposed, forecast.energy), rel=1e-9)
    assert forecast.end == pytest.approx(run.table()["end"].iloc[-1], rel=1e-9)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize("seed", range(30))
def test_the_forecast_of_a_request_alone_is_what_becomes_of_it(seed, continuous):
    instance = small_offloads.drawn_instance(seed, requests=1, block=float("inf"), always_local=True)
    luck, run = random.Random(seed), Run(instance, continuous=continuous)
    if continuous:
        choice = small_offloads.drawn_parts(luck, instance)
        forecast, step = run.forecast_parts(*choice), run.decide_parts(*choice)
    else:
        choice = small_offloads.drawn_choice(luck, instance, 0)
        forecast, step = run.forecast(*choice), run.decide(*choice)
    row = run.table().iloc[0]
    for name in ("sent", "served", "left", "end", "delay", "energy", "missed", "error"):
        assert getattr(forecast, name) == pytest.approx(row[name], rel=1e-12, nan_ok=True)
    assert step.costs == pytest.approx(forecast.costs, rel=1e-12)
    assert forecast.imposed == 0


def test_a_forecast_changes_nothing():
    instance = small_offloads.drawn_instance(3)
    looked, blind = Run(instance), Run(instance)
    luck = random.Random(3)
    while not looked.is_over:
        choice = small_offloads.drawn_choice(luck, instance, looked.current)
        assert looked.forecast(*choice) == looked.forecast(*choice)
        assert looked.decide(*choice) == blind.decide(*choice)
    assert looked.table().equals(blind.table())
