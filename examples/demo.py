"""Trains a scheduler, tests it on graphs and a workflow that it has never seen, then plays a suite of all families.

python examples/demo.py  # the same as make demo
"""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np

from hetgym.cli import main
from hetgym.workloads import TaskGraph, write_wfformat

OUTPUT = Path("demo-output")


def sequencing_workflow(samples: int = 6) -> TaskGraph:
    """Returns a made-up sequencing workflow: for each sample a chain of four tasks, then two that merge them all."""
    steps = [("filter", 40.0, 200e6), ("align", 180.0, 350e6), ("sort", 60.0, 350e6), ("call", 90.0, 20e6)]
    names, seconds = ["split"], [30.0]
    edges: list[tuple[int, int]] = []
    volume: list[float] = []
    generator = np.random.default_rng(7)
    for sample in range(samples):
        size = generator.uniform(0.5, 1.5)
        before, sent = 0, 400e6 * size
        for step, duration, produced in steps:
            task = len(names)
            names.append(f"{step}-{sample + 1}")
            seconds.append(duration * size)
            edges.append((before, task))
            volume.append(round(sent))
            before, sent = task, produced * size
        edges.append((before, 1 + len(steps) * samples))
        volume.append(round(sent))
    names += ["merge", "report"]
    seconds += [25.0, 10.0]
    edges.append((len(names) - 2, len(names) - 1))
    volume.append(round(5e6))
    return TaskGraph(
        name="sequencing",
        kinds=("cpu",),
        duration=np.array(seconds)[:, None],
        edges=np.array(edges).T,
        edge_bytes=np.array(volume),
        task_names=tuple(names),
    )


def run(*words: object) -> None:
    """Prints a hetgym command, then runs it."""
    arguments = [str(word) for word in words]
    print(f"\n$ hetgym {shlex.join(arguments)}", flush=True)
    main(arguments)


if __name__ == "__main__":
    OUTPUT.mkdir(exist_ok=True)
    workflow = OUTPUT / "sequencing.json"
    write_wfformat(sequencing_workflow(), workflow)
    policies = f"heft,peft,lookahead,best-of-32:lookahead,dls,min-min,mct,random,ppo:{OUTPUT / 'run'}"

    run("train", "--scenario", "random", "--steps", 80_000, "--evaluate-every", 4, "--output", OUTPUT / "run")
    run("evaluate", "--scenario", "random", "--policies", policies, "--episodes", 200, "--csv", OUTPUT / "graphs.csv")
    run(
        "evaluate", "--scenario", workflow, "--policies", policies, "--episodes", 1,
        "--csv", OUTPUT / "workflow.csv", "--gantt", OUTPUT / "schedule.png", "--gantt-policy", f"ppo:{OUTPUT / 'run'}",
    )  # fmt: skip
    print(f"\nThe training curve: {OUTPUT / 'run' / 'curve.png'}")
    print(f"The learned schedule of the workflow: {OUTPUT / 'schedule.png'}")
    print("The agent has seen random graphs only; where HEFT is ahead on a workflow, the table says so.")
    print("Your own workflow, in WfFormat 1.5: hetgym evaluate --scenario PATH.json --episodes 1")
    run("evaluate", "--suite", "quick", "--output", OUTPUT / "quick")
