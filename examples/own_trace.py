"""Recordings of your own are scenarios: a workflow, the routing of a mixture-of-experts model, requests.

    python examples/own_trace.py --folder runs/traces

It writes a small recording of each kind, as yours could look, and plays it. ``hetgym evaluate --scenario`` takes the
same files: ``workflow.json``, ``routing.yaml`` and ``requests.yaml``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from hetgym.evaluate import evaluate, summarise
from hetgym.workloads.routing import DECODE, RoutingTrace, save_trace

COLUMNS = ["policy", "mean", "ratio"]


def write_workflow(folder: Path) -> Path:
    """Writes a workflow in WfFormat 1.5, a file that eight tasks share out between them; returns its path."""
    seconds = {"split": 5.0} | {f"align-{part}": 20.0 + 5 * part for part in range(8)} | {"merge": 10.0}
    parts = [name for name in seconds if name.startswith("align")]
    parents = {"split": [], "merge": parts} | {part: ["split"] for part in parts}
    children = {"split": parts, "merge": []} | {part: ["merge"] for part in parts}
    tasks = [
        {
            "name": name, "id": name, "parents": parents[name], "children": children[name],
            "inputFiles": [f"{parent}-out" for parent in parents[name]], "outputFiles": [f"{name}-out"],
        }
        for name in seconds
    ]  # fmt: skip
    files = [{"id": f"{name}-out", "sizeInBytes": 200_000_000} for name in seconds]
    runs = [{"id": name, "runtimeInSeconds": runtime} for name, runtime in seconds.items()]
    workflow = {"specification": {"tasks": tasks, "files": files}, "execution": {"tasks": runs}}
    path = folder / "workflow.json"
    path.write_text(json.dumps({"name": "alignment", "schemaVersion": "1.5", "workflow": workflow}, indent=1))
    return path


def write_routing(folder: Path, tokens: int = 200, layers: int = 4, experts: int = 16, top_k: int = 2) -> Path:
    """Writes which experts each token of an answer used, and a scenario that plays it; returns its path."""
    chance = np.random.default_rng(0)
    # Each layer likes some experts better than others, as real ones do.
    liking = np.tile(chance.normal(size=(layers, experts)), (tokens, 1))
    chosen = (liking + chance.gumbel(size=liking.shape)).argsort(axis=1)[:, : -top_k - 1 : -1]
    rows = tokens * layers
    trace = RoutingTrace(
        model="mine", num_layers=layers, num_experts=experts, top_k=top_k,
        request=np.zeros(rows, int), phase=np.full(rows, DECODE),
        step=np.arange(rows) // layers, layer=np.arange(rows) % layers, experts=chosen,
    )  # fmt: skip
    save_trace(trace, folder / "routing.parquet")
    path = folder / "routing.yaml"
    path.write_text(
        "name: my-routing\n"
        "family: expert-cache\n"
        "workload: {kind: recorded, path: routing.parquet, model: olmoe-1b-7b}  # experts as large as OLMoE's\n"
        "cache_fraction: 0.5\n"
    )
    return path


def write_requests(folder: Path, count: int = 40) -> Path:
    """Writes when requests came and how large they were, and a scenario that plays them; returns its path."""
    chance = np.random.default_rng(0)
    arrival = chance.exponential(0.5, count).cumsum().round(3)
    bits = chance.uniform(1e6, 4e6, count).round()
    pd.DataFrame({"arrival": arrival, "bits": bits}).to_csv(folder / "requests.csv", index=False)
    path = folder / "requests.yaml"
    path.write_text(
        "name: my-requests\n"
        "family: offloading\n"
        "workload:\n"
        "  kind: requests\n"
        "  arrivals: {kind: recorded, path: requests.csv, column: arrival}\n"
        f"  num_requests: {count}\n"
        "  kinds: [{kind: task, size: {law: recorded, column: bits}, cycles_per_bit: 300.0}]\n"
        "users: {num_users: 4, frequency: 1.0e+9}\n"
        "edges: {count: 2, access: {kind: cell, bandwidth: 5.0e+6, distance: [20.0, 300.0], fading: rayleigh}}\n"
        "block: 0.1\n"
    )
    return path


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("runs/traces"), help="where the recordings are written")
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    for scenario, policies, metric in (
        (write_workflow(folder), "heft,peft,min-min", "makespan"),
        (write_routing(folder), "lfu,lru,belady", "hit_rate"),
        (write_requests(folder), "weighted-greedy,jsq,all-local", "cost"),
    ):
        print(f"\n{scenario}: {metric}")
        print(summarise(evaluate(scenario, policies, episodes=1), metric)[COLUMNS].to_string(index=False))
