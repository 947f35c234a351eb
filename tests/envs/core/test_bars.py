"""Bars of an episode are what its table says, in every family."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from hetgym.agents import make_policy
from hetgym.envs import Simulator, load_scenario
from hetgym.evaluate.evaluation import play_out

SMALL_CACHE = {"pool": "layer", "prompt_tokens": 4, "output_tokens": 16}


def played(scenario: str, policy: str, **settings: object) -> Simulator:
    setting = load_scenario(scenario, **settings).for_single_episodes()
    simulator = setting.simulator(1)
    play_out(simulator, make_policy(policy, setting.family), [3])
    return simulator


def check_form(bars: pd.DataFrame) -> None:
    assert list(bars.columns) == ["lane", "begin", "end", "label", "group"]
    assert len(bars)
    assert (bars["end"] > bars["begin"]).all()
    assert bars["begin"].is_monotonic_increasing
    assert bars.notna().all(axis=None)


@pytest.mark.parametrize(
    ("scenario", "policy", "settings"),
    [("random", "heft", {"num_tasks": 10}), ("soc-stream", "eft", {"num_jobs": 5})],
)
def test_a_task_is_a_bar_on_its_device(scenario: str, policy: str, settings: dict[str, int]) -> None:
    simulator = played(scenario, policy, **settings)
    bars, table = simulator.bars(0), simulator.episode(0)
    check_form(bars)
    table = table[table["finish"] > table["start"]]
    expected = sorted(zip(table["start"], table["finish"], table["name"], table["device_name"], strict=True))
    assert sorted(zip(bars["begin"], bars["end"], bars["label"], bars["lane"], strict=True)) == expected
    assert bars["lane"].cat.categories.tolist() == [device.name for device in simulator.instance(0).platform.devices]
    jobs = simulator.instance(0).graph.num_jobs
    assert bars["group"].nunique() == (len(table) if jobs == 1 else jobs)


def test_a_cache_has_bars_of_its_link_and_its_device() -> None:
    simulator = played("v2-lite", "lru", **SMALL_CACHE)
    bars, table = simulator.bars(0), simulator.episode(0)
    check_form(bars)
    assert bars["lane"].cat.categories.tolist() == ["link", "device"]
    for lane in ("link", "device"):
        own, rows = bars[bars["lane"] == lane], table[table["lane"] == lane]
        assert (own["end"] - own["begin"]).sum() == pytest.approx((rows["end"] - rows["begin"]).sum())
        assert (own["begin"].to_numpy()[1:] >= own["end"].to_numpy()[:-1] - 1e-12).all()
    loads = table[(table["lane"] == "link") & (table["what"] == "demand")]
    wanted = {
        f"event {event}: demand, expert {item}" for event, item in zip(loads["event"], loads["item"], strict=True)
    }
    assert wanted == set(bars.loc[bars["group"] == "demand", "label"])


def test_the_stages_of_a_request_are_its_delay() -> None:
    simulator = played("mec-gmorl", "weighted-greedy", horizon=20)
    bars, table = simulator.bars(0), simulator.episode(0)
    check_form(bars)
    assert bars["lane"].cat.categories.tolist() == [f"request {request}" for request in table["request"]]
    spent = (bars["end"] - bars["begin"]).groupby(bars["lane"], observed=False).sum()
    np.testing.assert_allclose(spent.to_numpy(), table["delay"].to_numpy(), rtol=1e-9)
    assert {"sent", "at the server"} <= set(bars["group"])


def test_a_frame_is_a_bar_of_each_user() -> None:
    simulator = played("mec-droo", "all-local")
    bars, table = simulator.bars(0), simulator.episode(0)
    check_form(bars)
    assert len(bars) == len(table)
    assert set(bars["group"]) == {"on the device"}
    assert bars["end"].max() == pytest.approx((table["frame"].max() + 1) * simulator.workload.duration)
