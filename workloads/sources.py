"""All sources of task graphs, told apart by ``kind``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .generators import CanonicalGraph, GraphFile, RandomGraphs, WorkflowFile
from .language_models import MoELayer, NpuPrefill
from .pipelines import Pipeline
from .soc import SocJob
from .spark import SparkJobs
from .structured import FFT, Chains, ForkJoin, GaussianElimination, TiledMatrix

AnyGraphs = Annotated[
    CanonicalGraph
    | RandomGraphs
    | TiledMatrix
    | FFT
    | GaussianElimination
    | ForkJoin
    | Chains
    | GraphFile
    | WorkflowFile
    | SocJob
    | Pipeline
    | MoELayer
    | NpuPrefill
    | SparkJobs,
    Field(discriminator="kind"),
]
