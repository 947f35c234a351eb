"""The example for RLlib learns, on a cluster of two nodes. It needs an environment of its own, as it says itself."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "rllib" / "masked_ppo.py"


@pytest.mark.skipif(
    importlib.util.find_spec("ray") is None or importlib.util.find_spec("tree") is None,
    reason="needs ray[rllib], as in examples/rllib/requirements.txt",
)
def test_rllib_learns_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    small = {"object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False, **small})
    try:
        cluster.add_node(num_cpus=1, **small)
        command = [sys.executable, str(EXAMPLE), "--address", cluster.address, "--iterations", "3"]
        done = subprocess.run(
            [*command, "--decisions", "2048", "--num-tasks", "8"],
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
    finally:
        cluster.shutdown()
    assert done.returncode == 0, done.stderr[-2000:]
    returns = [float(number) for number in re.findall(r"return (-\d+\.\d+)", done.stdout)]
    assert len(returns) == 3
    assert returns[2] > returns[0]
