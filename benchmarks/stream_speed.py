"""Streams of jobs: decisions per CPU-second with online EFT, and the memory of a long episode.

    python benchmarks/stream_speed.py [JOBS]

A batch of 64 streams of 300 jobs each, then one episode of 100,000 jobs (or JOBS).
"""

from __future__ import annotations

import sys
import time

import numpy as np
import psutil

from hetgym.agents import make_policy
from hetgym.envs import load_scenario
from hetgym.envs.task_graph.simulator import TaskGraphSimulator

SCENARIOS = ("soc-stream-low", "soc-stream", "soc-stream-high", "canonical-stream")


def play(simulator: TaskGraphSimulator, observes: bool, marks: tuple[int, ...] = ()) -> tuple[int, float]:
    """Returns how many decisions an episode of each stream takes, and CPU seconds; prints memory at some jobs."""
    policy, decisions, to_mark = make_policy("eft"), 0, list(marks)
    simulator.observes = observes
    simulator.reset(range(simulator.num_envs))
    policy.reset(simulator)
    seconds = -time.process_time()
    while not simulator.outcome["terminated"].all():
        decisions += int((~simulator.outcome["terminated"]).sum())
        simulator.step(policy.act(simulator.observation, simulator))
        if to_mark and simulator.state.status["jobs_ended"][0] >= to_mark[0]:
            print(f"  after {to_mark.pop(0):>7,} jobs: {psutil.Process().memory_info().rss / 2**20:.1f} MiB")
    return decisions, seconds + time.process_time()


def main() -> None:
    num_jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print("64 streams of 300 jobs, online EFT, million decisions per CPU-second, without and with observations")
    for name in SCENARIOS:
        simulator = load_scenario(name, num_jobs=300).simulator(64)
        play(load_scenario(name, num_jobs=2).simulator(64), True)
        speeds = [decisions / seconds / 1e6 for decisions, seconds in (play(simulator, see) for see in (False, True))]
        print(f"  {name:18} {speeds[0]:.2f} {speeds[1]:.3f}")
    print(f"soc-stream, {num_jobs:,} jobs in one episode, one environment")
    marks = (1_000, *(int(share * num_jobs) for share in (0.25, 0.5, 0.75, 1.0)))
    simulator = load_scenario("soc-stream", num_jobs=num_jobs).simulator(1)
    decisions, seconds = play(simulator, False, tuple(mark for mark in marks if mark <= num_jobs))
    metrics = simulator.metrics_of(0)
    print(f"  {decisions:,} decisions in {seconds:.1f} CPU-seconds; {metrics['jobs_ended']:,.0f} jobs ended")
    print("  " + ", ".join(f"{name} {metrics[name]:.4g}" for name in ("job_latency_mean", "job_latency_p99")))
    assert np.isfinite(list(metrics.values())).all()


if __name__ == "__main__":
    main()
