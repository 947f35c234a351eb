"""What has to run: task graphs, their generators and readers."""

from .architectures import (
    DecoderModel,
    decoder_language_model,
    list_networks,
    mobilenet_v2,
    network_profile,
    resnet50,
    vgg16,
)
from .canonical import CANONICAL_GRAPHS
from .generators import CanonicalGraph, GraphFile, GraphSource, RandomGraphs, WorkflowFile, random_task_graph
from .graph_file import load_task_graph, save_task_graph
from .language_models import MoELayer, NpuPrefill, moe_layer, npu_prefill
from .llm_serving import LlmTimes, device_llm_times, list_llm_times, load_llm_times
from .model_zoo import CompositionOfExperts, LoraAdapters
from .moe_models import MoEModel, ServingCosts, list_moe_models, load_moe_model, serving_costs
from .networks import (
    BOTTLEFIT,
    NetworkProfile,
    SplitCosts,
    layer_seconds,
    split_costs,
    with_bottleneck,
    with_slim_head,
)
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
    "BOTTLEFIT",
    "CANONICAL_GRAPHS",
    "FFT",
    "CanonicalGraph",
    "Chains",
    "CompositionOfExperts",
    "DecoderModel",
    "ForkJoin",
    "GaussianElimination",
    "GraphFile",
    "GraphSource",
    "LlmTimes",
    "LoraAdapters",
    "MoELayer",
    "MoEModel",
    "NetworkProfile",
    "NpuPrefill",
    "Pipeline",
    "RandomGraphs",
    "ServingCosts",
    "SocJob",
    "SparkJobs",
    "SplitCosts",
    "TaskGraph",
    "TiledMatrix",
    "WorkflowFile",
    "bubble_fraction",
    "chains",
    "cholesky",
    "decoder_language_model",
    "device_llm_times",
    "fft",
    "fork_join",
    "gaussian_elimination",
    "join_jobs",
    "layer_seconds",
    "list_llm_times",
    "list_moe_models",
    "list_networks",
    "load_llm_times",
    "load_moe_model",
    "load_task_graph",
    "lu",
    "mobilenet_v2",
    "moe_layer",
    "network_profile",
    "npu_prefill",
    "pipeline",
    "qr",
    "random_task_graph",
    "read_wfformat",
    "resnet50",
    "save_task_graph",
    "serving_costs",
    "soc_jobs",
    "spark_jobs",
    "split_costs",
    "task_graph_from_work",
    "vgg16",
    "with_bottleneck",
    "with_slim_head",
    "write_wfformat",
]
