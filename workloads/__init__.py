"""What has to run: task graphs, their generators and readers."""

from .canonical import CANONICAL_GRAPHS
from .generators import CanonicalGraph, GraphSource, RandomGraphs, WorkflowFile, random_task_graph
from .task_graph import TaskGraph
from .wfformat import read_wfformat, write_wfformat

__all__ = [
    "CANONICAL_GRAPHS",
    "CanonicalGraph",
    "GraphSource",
    "RandomGraphs",
    "TaskGraph",
    "WorkflowFile",
    "random_task_graph",
    "read_wfformat",
    "write_wfformat",
]
