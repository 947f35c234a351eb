"""Every scenario of real systems: it says where it comes from, and all policies play it by the rules."""

from __future__ import annotations

from pathlib import Path

import pytest

from hetgym.agents import list_policies, make_policy
from hetgym.envs import TaskGraphScenario, load_scenario
from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.evaluate import play

PLAYING = [name for name in list_policies("task-graph") if name != "duplication"]
DOCS = Path(__file__).parents[3] / "docs"
SMALL: dict[str, dict[str, object]] = {
    "cholesky-4c4g": {"tiles": 5},
    "hetero-nic": {"microbatches": 3},
    "moe-layer-forward": {"chunks": 2},
    "moe-layer-train": {"chunks": 2},
    "npu-prefill": {"blocks": 1, "chunks": 2},
    "pipeline-1f1b": {"microbatches": 3},
    "pipeline-gpipe": {"microbatches": 3},
    "pipeline-interleaved": {"microbatches": 4},
    "pipeline-unlike": {"microbatches": 3},
    "soc-job": {"job": "radar"},
    "spark-tpch-like": {"width": 4},
}
"""Settings that make the graphs small enough to be played by all policies."""


@pytest.mark.parametrize("name", SMALL)
def test_scenario_names_its_source(name: str) -> None:
    scenario = load_scenario(name)
    assert scenario.name == name
    assert scenario.description.endswith(".")
    assert "arXiv:" in scenario.source or "doi:10." in scenario.source


@pytest.mark.parametrize("policy", PLAYING)
@pytest.mark.parametrize("name", SMALL)
def test_every_schedule_is_valid(name: str, policy: str) -> None:
    plans = policy == "random" or hasattr(make_policy(policy), "schedule")
    simulator = load_scenario(name, mode="plan" if plans else "dispatch", **SMALL[name]).simulator(2)
    assert isinstance(simulator, TaskGraphSimulator)
    play(simulator, make_policy(policy), [4, 5])
    for row in range(2):
        assert violations(simulator.instance(row), simulator.schedule(row)) == []


@pytest.mark.parametrize("name", SMALL)
def test_dispatch_of_a_plan_takes_as_long_as_the_plan(name: str) -> None:
    scenario = load_scenario(name, mode="dispatch", **SMALL[name])
    assert isinstance(scenario, TaskGraphScenario)
    simulator = scenario.simulator(1)
    play(simulator, make_policy("heft"), [0])
    planned = make_policy("heft").schedule(scenario.instance(0, 0)).makespan
    assert simulator.schedule(0).makespan == pytest.approx(planned, rel=1e-9)


@pytest.mark.parametrize("name", SMALL)
def test_scenario_is_in_the_docs_with_a_small_picture(name: str) -> None:
    page = (DOCS / "scenarios.md").read_text(encoding="utf-8")
    sections = [line.removeprefix("## ").split(", ") for line in page.splitlines() if line.startswith("## ")]
    assert any(name in section for section in sections)
    assert f"(images/scenarios/{name}.png)" in page
    assert 2_000 < (DOCS / "images" / "scenarios" / f"{name}.png").stat().st_size < 60_000
