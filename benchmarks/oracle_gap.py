"""How far heuristics are from the optimum, and how far CP-SAT gets.

    python benchmarks/oracle_gap.py [SECONDS]

The golden graphs; 100 random graphs of 20 tasks on 4 devices for each of two ratios of communication to computation,
all solved by CP-SAT on one thread; and READYS' Cholesky factorisation of 8 x 8 tiles, for SECONDS (60) on two threads.
"""

from __future__ import annotations

import sys
import time

import numpy as np

from hetgym.agents import list_policies, make_policy
from hetgym.agents.heuristics.replay import Planner
from hetgym.agents.oracles.cp_sat import CpSat
from hetgym.envs import load_scenario
from hetgym.envs.task_graph.bounds import lower_bound
from hetgym.workloads import CANONICAL_GRAPHS

GRAPHS = 100


def planners() -> list[Planner]:
    found = [make_policy(name) for name in list_policies("task-graph")]
    plain = [policy for policy in found if isinstance(policy, Planner) and policy.name != "duplication"]
    return [*plain, make_policy("best-of-32:lookahead")]  # type: ignore[list-item]


def solve_papers() -> None:
    CpSat().solve(CANONICAL_GRAPHS["heft-paper"]())  # compiles
    for name, graph in CANONICAL_GRAPHS.items():
        solution = CpSat().solve(graph())
        print(f"{name}: {solution.upper_bound:g}, {solution.status}, {solution.seconds:.2f} s")


def compare(ccr: float) -> None:
    scenario = load_scenario("random", ccr=ccr)
    instances = [scenario.instance(seed, 0) for seed in range(GRAPHS)]
    seconds = -time.process_time()
    solutions = [CpSat().solve(instance) for instance in instances]
    seconds += time.process_time()
    optimum = np.array([solution.upper_bound for solution in solutions])
    bound = np.array([max(lower_bound(instance), 0.0) for instance in instances])
    proven = sum(solution.status == "optimal" for solution in solutions)
    print(f"CCR {ccr}: CP-SAT proves {proven} of {GRAPHS} graphs, {seconds / GRAPHS:.2f} CPU-seconds each;")
    print(f"  the combinatorial bound is at {np.mean(bound / optimum):.3f} of the optimum; gaps, mean and largest:")
    gaps = []
    for policy in planners():
        makespan = np.array([policy.schedule(instance).makespan for instance in instances])
        assert (makespan >= optimum * (1 - 1e-9)).all(), policy.name
        assert (makespan >= bound * (1 - 1e-9)).all(), policy.name
        gap = makespan / optimum - 1.0
        gaps.append((gap.mean(), gap.max(), policy.name))
    for mean, largest, name in sorted(gaps):
        print(f"  {name:22} {mean:7.1%} {largest:7.1%}")


def solve_cholesky(seconds: float) -> None:
    instance = load_scenario("cholesky-2c2g").instance(0, 0)
    names = ("heft", "peft", "min-min", "lookahead", "best-of-32:lookahead")
    made = {name: make_policy(name).schedule(instance).makespan for name in names}  # type: ignore[attr-defined]
    solution = CpSat(time_limit=seconds, workers=2).solve(instance)
    print(
        f"Cholesky, {instance.graph.num_tasks} tasks: " + ", ".join(f"{name} {value:g}" for name, value in made.items())
    )
    print(
        f"  CP-SAT {solution.upper_bound:g} ({solution.status}), lower bound {solution.lower_bound:g}, "
        f"{solution.seconds:.0f} s of wall time"
    )


def main() -> None:
    solve_papers()
    for ccr in (1.0, 0.1):
        compare(ccr)
    solve_cholesky(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0)


if __name__ == "__main__":
    main()
