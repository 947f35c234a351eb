"""Reinforcement-learning environments and agents for scheduling on heterogeneous hardware."""

import gymnasium

from .errors import HetgymError

__all__ = ["HetgymError", "__version__"]

__version__ = "0.1.0"

for _id, _faces in {
    "hetgym/TaskGraphPlan-v0": "hetgym.envs.task_graph.env:TaskGraphPlan",
    "hetgym/TaskGraphDispatch-v0": "hetgym.envs.task_graph.env:TaskGraphDispatch",
    "hetgym/ExpertCache-v0": "hetgym.envs.expert_cache.env:ExpertCache",
    "hetgym/Offload-v0": "hetgym.envs.offloading.env:Offload",
    "hetgym/OffloadContinuous-v0": "hetgym.envs.offloading.env:OffloadContinuous",
    "hetgym/MOOffload-v0": "hetgym.envs.offloading.env:MOOffload",
}.items():
    if _id not in gymnasium.registry:
        gymnasium.register(
            _id,
            entry_point=f"{_faces}Env",
            vector_entry_point=f"{_faces}VectorEnv",
            # Gymnasium's checker knows scalar rewards alone.
            disable_env_checker=_id == "hetgym/MOOffload-v0",
        )
