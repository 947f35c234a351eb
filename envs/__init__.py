"""The environments, and the faces in which they are shown."""

from .core.adapters import list_envs, make_sb3, to_pyg
from .core.scenario import Scenario, list_scenarios, load_scenario
from .core.simulator import Feature, ObservationSchema, Simulator
from .expert_cache.scenario import ExpertCacheScenario
from .offloading.scenario import OffloadScenario
from .task_graph.scenario import TaskGraphScenario

__all__ = [
    "ExpertCacheScenario",
    "Feature",
    "ObservationSchema",
    "OffloadScenario",
    "Scenario",
    "Simulator",
    "TaskGraphScenario",
    "list_envs",
    "list_scenarios",
    "load_scenario",
    "make_sb3",
    "to_pyg",
]
