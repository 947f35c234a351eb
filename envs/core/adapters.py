"""Bridges to libraries that need torch, imported only when they are used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import gymnasium
import numpy as np
from numpy.typing import NDArray

from ...errors import unknown_name

if TYPE_CHECKING:
    from torch_geometric.data import Batch

    from .sb3 import SB3VecEnv
    from .vector import BatchedEnv


def list_envs() -> list[str]:
    """Returns the ids of hetgym's environments."""
    return sorted(env_id for env_id in gymnasium.registry if env_id.startswith("hetgym/"))


def make_sb3(env_id: str, num_envs: int = 1, seed: int | None = None, **arguments: Any) -> SB3VecEnv:
    """Returns a native stable-baselines3 ``VecEnv``, with ``action_masks()`` for sb3-contrib.

    Args:
        env_id: One of `list_envs`.
        num_envs: B.
        seed: Environment i begins with seed + i.
        arguments: Those of the environment: ``scenario``, its settings, ``reward``, ``observation``.

    Raises:
        HetgymError: If there is no such environment, or an argument is not right.
    """
    from .sb3 import SB3VecEnv

    if env_id not in list_envs():
        raise unknown_name("environment", env_id, list_envs())
    observation = arguments.pop("observation", "dict")
    batch = gymnasium.make_vec(
        env_id, num_envs=num_envs, vectorization_mode=gymnasium.VectorizeMode.VECTOR_ENTRY_POINT, **arguments
    )
    env = SB3VecEnv(cast("BatchedEnv", batch.unwrapped).simulator, observation)
    env.seed(seed)
    return env


def to_pyg(observation: Mapping[str, NDArray[Any]]) -> Batch:
    """Returns observations of a graph family as a torch-geometric batch, without padding.

    Args:
        observation: The dictionary of one environment, or of B side by side.

    Returns:
        A ``Batch`` with ``x`` (nodes, Fn), ``node_jobs`` (nodes,; which of its graph's jobs each is of, -1 for none),
        ``edge_index`` (2, edges), ``edge_attr`` (edges, Fe), ``batch``, ``ptr``, ``context`` (B, Fg), and of the
        allowed candidates ``candidates`` (V, Fc), ``candidate_nodes`` (V, m; indices into ``x``, -1 for none),
        ``candidate_batch`` (V,) and ``candidate_action`` (V,).

    Raises:
        ValueError: If the family has no graph.
    """
    import torch
    from torch_geometric.data import Batch

    if "nodes" not in observation:
        raise ValueError("to_pyg: the observation has no 'nodes'; this family has no graph")
    if np.ndim(observation["nodes"]) == 2:
        observation = {name: np.asarray(array)[None] for name, array in observation.items()}
    num_nodes, num_edges = observation["counts"][:, 0], observation["counts"][:, 1]
    most_nodes, most_edges = observation["nodes"].shape[1], observation["edge_features"].shape[1]
    node_graph, node = np.nonzero(np.arange(most_nodes) < num_nodes[:, None])
    edge_graph, edge = np.nonzero(np.arange(most_edges) < num_edges[:, None])
    first_node = np.concatenate([[0], np.cumsum(num_nodes)])
    edges = observation["edges"].transpose(1, 0, 2)[:, edge_graph, edge] + first_node[edge_graph]
    candidate_graph, action = np.nonzero(observation["action_mask"])
    local = observation["candidate_nodes"][candidate_graph, action]
    candidate_nodes = np.where(local < most_nodes, local + first_node[candidate_graph, None], -1)
    jobs = observation["node_jobs"][node_graph, node]

    def tensor(array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(array))

    return Batch(
        x=tensor(observation["nodes"][node_graph, node]),
        node_jobs=tensor(np.where(jobs < most_nodes, jobs, -1).astype(np.int64)),
        edge_index=tensor(edges.astype(np.int64)),
        edge_attr=tensor(observation["edge_features"][edge_graph, edge]),
        batch=tensor(node_graph),
        ptr=tensor(first_node.astype(np.int64)),
        context=tensor(observation["context"].copy()),
        candidates=tensor(observation["candidates"][candidate_graph, action]),
        candidate_nodes=tensor(candidate_nodes.astype(np.int64)),
        candidate_batch=tensor(candidate_graph),
        candidate_action=tensor(action),
    )
