"""What has to run: task graphs, their generators and readers."""

from .canonical import CANONICAL_GRAPHS
from .generators import CanonicalGraph, GraphFile, GraphSource, RandomGraphs, WorkflowFile, random_task_graph
from .graph_file import load_task_graph, save_task_graph
from .language_models import MoELayer, NpuPrefill, moe_layer, npu_prefill
from .model_zoo import CompositionOfExperts, LoraAdapters
from .moe_models import MoEModel, ServingCosts, list_moe_models, load_moe_model, serving_costs
from .pipelines import Pipeline, bubble_fraction, pipeline
from .soc import SocJob, soc_jobs
from .spark import SparkJobs, spark_jobs
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
    "CompositionOfExperts",
    "ForkJoin",
    "GaussianElimination",
    "GraphFile",
    "GraphSource",
    "LoraAdapters",
    "MoELayer",
    "MoEModel",
    "NpuPrefill",
    "Pipeline",
    "RandomGraphs",
    "ServingCosts",
    "SocJob",
    "SparkJobs",
    "TaskGraph",
    "TiledMatrix",
    "WorkflowFile",
    "bubble_fraction",
    "chains",
    "cholesky",
    "fft",
    "fork_join",
    "gaussian_elimination",
    "join_jobs",
    "list_moe_models",
    "load_moe_model",
    "load_task_graph",
    "lu",
    "moe_layer",
    "npu_prefill",
    "pipeline",
    "qr",
    "random_task_graph",
    "read_wfformat",
    "save_task_graph",
    "serving_costs",
    "soc_jobs",
    "spark_jobs",
    "task_graph_from_work",
    "write_wfformat",
]
