"""What has to run: task graphs, their generators and readers."""

from .canonical import CANONICAL_GRAPHS
from .generators import CanonicalGraph, GraphFile, GraphSource, RandomGraphs, WorkflowFile, random_task_graph
from .graph_file import load_task_graph, save_task_graph
from .structured import (
    FFT,
    Chains,
    ForkJoin,
    GaussianElimination,
    TiledMatrix,
    chains,
    cholesky,
    fft,
    fork_join,
    gaussian_elimination,
    lu,
    qr,
)
from .task_graph import TaskGraph, join_jobs
from .wfformat import read_wfformat, write_wfformat
from .work import task_graph_from_work

__all__ = [
    "CANONICAL_GRAPHS",
    "FFT",
    "CanonicalGraph",
    "Chains",
    "ForkJoin",
    "GaussianElimination",
    "GraphFile",
    "GraphSource",
    "RandomGraphs",
    "TaskGraph",
    "TiledMatrix",
    "WorkflowFile",
    "chains",
    "cholesky",
    "fft",
    "fork_join",
    "gaussian_elimination",
    "join_jobs",
    "load_task_graph",
    "lu",
    "qr",
    "random_task_graph",
    "read_wfformat",
    "save_task_graph",
    "task_graph_from_work",
    "write_wfformat",
]
