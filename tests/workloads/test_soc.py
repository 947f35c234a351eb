"""The jobs of the SoC: their sizes, numbers of their source, and makespans by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.agents import make_policy
from hetgym.envs import TaskGraphScenario, load_scenario
from hetgym.envs.task_graph.checker import violations
from hetgym.envs.task_graph.instance import Instance
from hetgym.hardware_models import load_platform
from hetgym.workloads import soc_jobs

SIZES = {
    "wifi-transmitter": (27, 30),
    "wifi-receiver": (34, 37),
    "radar": (7, 7),
    "single-carrier-transmitter": (8, 7),
    "single-carrier-receiver": (8, 7),
    "interference-mitigation": (10, 12),
}
"""Tasks and edges, by hand from the configuration."""


def duration(job: str, task: str) -> dict[str, float]:
    """Microseconds by kind."""
    graph = soc_jobs()[job]
    row = graph.duration[graph.task_names.index(task)]
    return {kind: round(1e6 * seconds, 9) for kind, seconds in zip(graph.kinds, row, strict=True) if seconds < np.inf}


def volume(job: str, sender: str, receiver: str) -> float:
    graph = soc_jobs()[job]
    names = [(graph.task_names[source], graph.task_names[target]) for source, target in graph.edges.T]
    edge = names.index((sender, receiver))
    return float(graph.edge_bytes[edge])


def test_six_jobs() -> None:
    jobs = soc_jobs()
    assert {name: (job.num_tasks, job.num_edges) for name, job in jobs.items()} == SIZES
    assert all(job.name == name for name, job in jobs.items())
    kinds = set(load_platform("soc-ds3").kinds)
    assert all(set(job.kinds) == kinds for job in jobs.values())


def test_cores_run_every_task_and_engines_their_own() -> None:
    runs: dict[str, set[str]] = {kind: set() for kind in ("mm", "fft", "vit")}
    for job in soc_jobs().values():
        assert np.isfinite(job.duration[:, :2]).all()
        for kind, names in runs.items():
            seconds = job.duration[:, job.kinds.index(kind)]
            names |= {job.task_names[task].rstrip("_012345") for task in np.flatnonzero(np.isfinite(seconds))}
    transforms = {"fft", "ifft", "xcorr_fft", "xcorr_ifft"}
    assert runs == {"mm": {"CMM"}, "fft": transforms, "vit": {"viterbi_decoder"}}


def test_numbers_of_the_source() -> None:
    assert duration("wifi-transmitter", "ifft_3") == {"a7": 296, "a15": 118, "fft": 16}
    assert duration("interference-mitigation", "CMM_3") == {"a7": 210, "a15": 44, "mm": 22}
    assert duration("radar", "LFM") == {"a7": 90, "a15": 60}
    assert volume("wifi-receiver", "match_filter", "payload_extraction_5") == 3000
    assert volume("wifi-transmitter", "crc_5", "end") == 3
    assert volume("radar", "xcorr_fft0", "xcorr_vector_complex_conj_mul") == 150


def test_receivers_have_decoders_and_descramblers_of_their_own() -> None:
    assert duration("wifi-receiver", "viterbi_decoder") == {"a7": 1828, "a15": 739, "vit": 2}
    assert duration("single-carrier-receiver", "viterbi_decoder") == {"a7": 3130, "a15": 987, "vit": 2}
    assert duration("wifi-receiver", "descrambler") == {"a7": 3, "a15": 2}
    assert duration("single-carrier-receiver", "descrambler") == {"a7": 5, "a15": 2}


@pytest.mark.parametrize(
    ("job", "microseconds"),
    [("single-carrier-transmitter", 2 + 9 + 3 + 3 + 8 + 2 + 9 + 20),
     ("single-carrier-receiver", 20 + 20 + 3 + 96 + 7 + 3 + 2 + 2)],
)  # fmt: skip
def test_chains_without_volume_take_the_sum_of_the_fastest(job: str, microseconds: float) -> None:
    instance = Instance(soc_jobs()[job], load_platform("soc-ds3"))
    assert make_policy("heft").schedule(instance).makespan == pytest.approx(1e-6 * microseconds, rel=1e-12)


@pytest.mark.parametrize("job", SIZES)
def test_scenario_plays_every_job(job: str) -> None:
    scenario = load_scenario("soc-job", job=job)
    assert isinstance(scenario, TaskGraphScenario)
    instance = scenario.instance(0, 0)
    assert violations(instance, make_policy("heft").schedule(instance)) == []


def test_jobs_are_read_only() -> None:
    with pytest.raises(TypeError):
        soc_jobs()["radar"] = soc_jobs()["wifi-receiver"]  # type: ignore[index]


def test_unknown_job_is_refused() -> None:
    with pytest.raises(HetgymError, match="unknown job 'sonar': choose one of interference-mitigation, radar"):
        load_scenario("soc-job", job="sonar")
