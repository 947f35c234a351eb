"""Parts of language models on unlike devices: a layer of experts over two kinds of link, a prompt on a phone."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from ..errors import HetgymError
from ..hardware_models import Platform
from .generators import OneGraph, graph_from
from .structured import Call, structure_of
from .task_graph import TaskGraph
from .work import task_graph_from_work

_Count = Annotated[int, Field(ge=1, le=1_000_000)]
_Few = Annotated[int, Field(ge=1, le=64)]
_Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
_NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class MoELayer(OneGraph):
    """A mixture-of-experts layer on a cluster, seen from one of its GPUs, as FSMoE schedules it.

    Every GPU does the same, so that three resources stand for all, one device kind each: the GPU itself (``compute``),
    the links inside a node (``intra-link``) and those between nodes (``inter-link``). Experts are spread over the
    nodes; each, as the dense part of the model, is cut over the GPUs of a node. A GPU's tokens are split into chunks,
    each of which goes through

    1. dispatch: all-to-all between nodes;
    2. gather: all-gather inside the node, so that each GPU has the tokens for its part of the experts;
    3. experts: the feed-forward networks;
    4. scatter: reduce-scatter inside the node;
    5. combine: all-to-all between nodes.

    Before the first chunk comes the gate, after the last the weighted sum of the experts' results. With ``training``
    the dense part behind the layer follows, forward and backward at once, then the layer backward: the same in reverse,
    in chunks of its own, with twice the computation. Meanwhile the dense part's gradients are summed over the nodes,
    in pieces that compete with the all-to-alls for the links between nodes. (FSMoE picks numbers of chunks and sizes
    of pieces; here they are given, and the order on each resource is for the scheduler to find.)

    An operation of n bytes or FLOP takes ``latency + n / rate`` seconds, as in FSMoE. Numbers are as sent by one GPU:
    an all-to-all sends (N - 1) / N of its data out of a node, all-gather and reduce-scatter receive G - 1 times its
    data, an all-reduce sends 2 (N - 1) / N of its G-th of the gradients, for N nodes of G GPUs.

    Source: Pan et al. 2025, FSMoE, arXiv:2501.10714. The default model is a layer of Mixtral 8x7B (Jiang et al. 2024,
    arXiv:2401.04088); the default cluster has GPUs of type RTX A6000 on PCIe 4, eight to a node that has one network
    card of 200 Gbit/s. Rates are estimates: 0.6 of the data sheet's 154.8 TFLOP/s (fp16, dense); 20 of the 32 GB/s of
    PCIe 4 x16; an eighth of the card's 25 GB/s. So are the latencies, after usual times of small NCCL operations.

    Attributes:
        training: Whether the backward pass follows.
        chunks: Of the forward pass (the pipelining degree r).
        backward_chunks: Of the backward pass; as many as forward by default.
        gradient_pieces: Of the dense part's gradients.
        tokens: Of each GPU.
        hidden: Width of a token.
        ffn: Inner width of an expert, which has three matrices of ``hidden`` x ``ffn``.
        experts: How many the gate chooses from.
        top_k: How many experts take each token.
        dense_parameters: Of the dense part behind the layer, by default attention's, 4 ``hidden``^2.
        element_bytes: Bytes of each number.
        nodes: N.
        gpus_per_node: G.
        flops: What a GPU reaches, FLOP/s.
        intra_bandwidth: Of a GPU to the others of its node, byte/s.
        inter_bandwidth: Of a GPU to other nodes, byte/s.
        compute_latency: Of a kernel, s.
        intra_latency: Of an operation inside a node, s.
        inter_latency: Of an operation between nodes, s.
    """

    kind: Literal["moe-layer"] = "moe-layer"
    training: bool = False
    chunks: _Few = 4
    backward_chunks: _Few | None = None
    gradient_pieces: _Few = 4
    tokens: _Count = 4096
    hidden: _Count = 4096
    ffn: _Count = 14336
    experts: _Count = 8
    top_k: _Few = 2
    dense_parameters: _Count | None = None
    element_bytes: _Few = 2
    nodes: Annotated[int, Field(ge=1, le=100_000)] = 4
    gpus_per_node: Annotated[int, Field(ge=1, le=1_000)] = 8
    flops: _Positive = 92.9e12
    intra_bandwidth: _Positive = 20.0e9
    inter_bandwidth: _Positive = 3.125e9
    compute_latency: _NonNegative = 10.0e-6
    intra_latency: _NonNegative = 30.0e-6
    inter_latency: _NonNegative = 60.0e-6

    @model_validator(mode="after")
    def _enough_experts(self) -> MoELayer:
        if self.top_k > self.experts:
            raise ValueError(f"top_k: must be at most experts, {self.experts} (given: {self.top_k})")
        return self

    def _calls(self) -> Iterator[Call]:
        yield Call("gate", (), writes=("routed",))
        forward = range(self.chunks)
        for i in forward:
            yield Call("dispatch", (i,), reads=("routed",), writes=(("chunk", i),))
            for step in ("gather", "experts", "scatter", "combine"):
                yield Call(step, (i,), writes=(("chunk", i),))
        yield Call("sum", (), reads=tuple(("chunk", i) for i in forward), writes=("result",))
        if self.training:
            yield from self._backward_calls()

    def _backward_calls(self) -> Iterator[Call]:
        backward = range(self.backward_chunks or self.chunks)
        yield Call("dense", (), writes=("result",))
        yield Call("sum-back", (), reads=("result",), writes=("unsummed",))
        for i in backward:
            yield Call("combine-back", (i,), reads=("unsummed",), writes=(("gradient", i),))
            for step in ("scatter-back", "experts-back", "gather-back", "dispatch-back"):
                yield Call(step, (i,), writes=(("gradient", i),))
        yield Call("gate-back", (), reads=tuple(("gradient", i) for i in backward))
        for piece in range(self.gradient_pieces):
            yield Call("all-reduce", (piece,), reads=("result",))

    def _seconds(self) -> dict[str, tuple[str, float]]:
        """Returns the resource and the seconds of each operation."""
        routed = self.tokens * self.top_k * self.hidden
        dense = self.dense_parameters or 4 * self.hidden**2
        crossing = (self.nodes - 1) / self.nodes
        forward_flop = {
            "gate": 2 * self.tokens * self.hidden * self.experts,
            "experts": 6 * routed * self.ffn / self.chunks,
            "sum": 2 * routed,
        }
        back = self.chunks / (self.backward_chunks or self.chunks)
        flop = forward_flop | {
            "gate-back": 2 * forward_flop["gate"],
            "experts-back": 2 * forward_flop["experts"] * back,
            "sum-back": 2 * forward_flop["sum"],
            "dense": 6 * self.tokens * dense,
        }
        around = self.element_bytes * routed * (self.gpus_per_node - 1) / self.chunks
        across = self.element_bytes * routed * crossing / self.chunks
        inside = {"gather": around, "scatter": around, "gather-back": around * back, "scatter-back": around * back}
        between = {
            "dispatch": across,
            "combine": across,
            "dispatch-back": across * back,
            "combine-back": across * back,
            "all-reduce": 2 * self.element_bytes * dense / self.gpus_per_node * crossing / self.gradient_pieces,
        }
        resources = (
            ("compute", flop, self.compute_latency, self.flops),
            ("intra-link", inside, self.intra_latency, self.intra_bandwidth),
            ("inter-link", between, self.inter_latency, self.inter_bandwidth),
        )
        return {
            operation: (resource, latency + size / rate)
            for resource, sizes, latency, rate in resources
            for operation, size in sizes.items()
        }

    def load(self) -> TaskGraph:
        """Returns the graph; all its edges have 0 bytes, for transfers are tasks."""
        structure = structure_of(self._calls())
        seconds = self._seconds()
        kinds = ("compute", "intra-link", "inter-link")
        row = {
            operation: [duration if kind == resource else np.inf for kind in kinds]
            for operation, (resource, duration) in seconds.items()
        }
        return TaskGraph(
            name=f"moe-layer-{'training' if self.training else 'forward'}-{self.chunks}",
            kinds=kinds,
            duration=np.array([row[operation] for operation in structure.kernels]),
            edges=structure.edges,
            edge_bytes=np.zeros(structure.edges.shape[1]),
            task_names=structure.names,
        )


def moe_layer(training: bool = False, chunks: int = 4, **settings: Any) -> TaskGraph:
    """Returns a layer of experts: 5 r + 2 tasks forward; with training 5 r' + 3 and the pieces of gradients more.

    Args:
        training: As in `MoELayer`.
        chunks: r.
        settings: Other attributes of `MoELayer`.

    Raises:
        HetgymError: If an argument is out of range.
    """
    return graph_from(MoELayer, "moe_layer", training=training, chunks=chunks, **settings)


_PREFILL = {
    "attention-norm": ("ffn", "ffn-outliers"),
    "qkv": ("attention-norm",),
    "qkv-outliers": ("attention-norm",),
    "attention": ("qkv", "qkv-outliers"),
    "output": ("attention",),
    "output-outliers": ("attention",),
    "ffn-norm": ("output", "output-outliers"),
    "ffn": ("ffn-norm",),
    "ffn-outliers": ("ffn-norm",),
}
"""The steps of a block, and whose results each needs; the first needs those of the block before."""


class NpuPrefill(OneGraph):
    """A prompt's way through a language model on a phone, whose NPU is fast at 8-bit integers only.

    The prompt is split into chunks of one length. Each goes through the transformer blocks one by one, and in each
    through

    - norms and attention in floating point, on CPU or GPU;
    - ``qkv``, ``output`` and ``ffn``, products with weights in 8-bit integers, on the NPU;
    - beside each of these its outliers: the product of the few channels that are too large for 8 bits, in floating
      point on CPU or GPU. What comes next needs both results.

    Attention needs the keys and values of all chunks up to its own. Nothing else joins the chunks, so that their steps
    can be taken out of order to keep the NPU busy, which is the paper's idea.

    Durations follow from the platform's rates for ``fp32`` and ``int8`` by `operation_time`. A product takes 2 FLOP for
    each weight and token, and moves weights, inputs and results once. A token attends to the chunks before its own and
    to half of its own: 4 FLOP for each key and number. A norm takes 5 FLOP a number. Numbers have 4 bytes, weights of
    the NPU and what goes to it 1.

    Source: Xu et al. 2025 (mllm-NPU, later llm.npu), arXiv:2407.05858; of its 5 to 15 outlier channels, 10. The default
    model is Qwen1.5-1.8B, which has 24 blocks; fewer by default, to keep the graph small.

    Attributes:
        chunks: Of the prompt.
        chunk_tokens: Tokens of each chunk.
        blocks: Transformer blocks.
        hidden: Width of a token.
        ffn: Inner width of the feed-forward network, which has three matrices of ``hidden`` x ``ffn``.
        outlier_channels: Of each product's input.
    """

    kind: Literal["npu-prefill"] = "npu-prefill"
    chunks: _Few = 4
    chunk_tokens: _Count = 256
    blocks: Annotated[int, Field(ge=1, le=200)] = 4
    hidden: _Count = 2048
    ffn: _Count = 5504
    outlier_channels: _Count = 10
    _platform: Platform | None = None

    def on(self, platform: Platform) -> Self:
        """Returns the source with durations for a platform."""
        source = type(self)(**self.model_dump())
        source._platform = platform
        return source

    def _calls(self) -> Iterator[Call]:
        for chunk, block, (step, needs) in product(range(self.chunks), range(self.blocks), _PREFILL.items()):
            there = block - 1 if step == "attention-norm" else block
            chunks = range(chunk + 1) if step == "attention" else (chunk,)
            reads = tuple((need, there, each) for each in chunks for need in needs)
            yield Call(step, (block, chunk), reads=reads, writes=((step, block, chunk),))

    def _work(self, chunk: int) -> dict[str, tuple[str, str, float, float]]:
        """Returns class of operation, precision, FLOP and bytes of each step of a chunk."""
        numbers = self.chunk_tokens * self.hidden
        keys = (chunk + 0.5) * self.chunk_tokens
        kept = 2.0 * (chunk + 1) * numbers  # keys and values up to this chunk
        work: dict[str, tuple[str, str, float, float]] = {
            "attention-norm": ("norm", "fp32", 5.0 * numbers, 8.0 * numbers),
            "attention": ("attention", "fp32", 4.0 * numbers * keys, 4.0 * (2.0 * numbers + kept)),
            "ffn-norm": ("norm", "fp32", 5.0 * numbers, 8.0 * numbers),
        }
        channels = self.outlier_channels
        for step, weights, outlier_weights, results in (
            ("qkv", 3 * self.hidden**2, 3 * channels * self.hidden, 3 * numbers),
            ("output", self.hidden**2, channels * self.hidden, numbers),
            ("ffn", 3 * self.hidden * self.ffn, channels * (2 * self.ffn + self.hidden), numbers),
        ):
            flop, outlier_flop = 2.0 * self.chunk_tokens * weights, 2.0 * self.chunk_tokens * outlier_weights
            inputs = self.chunk_tokens * channels
            work[step] = ("matmul", "int8", flop, float(weights + numbers + 4 * results))
            work[f"{step}-outliers"] = ("matmul", "fp32", outlier_flop, 4.0 * (outlier_weights + inputs + results))
        return work

    def _edge_bytes(self, receiver: str, is_earlier_chunk: bool) -> float:
        numbers = float(self.chunk_tokens * self.hidden)
        if receiver == "attention":
            return 4.0 * numbers * (2.0 if is_earlier_chunk else 3.0)
        if receiver.endswith("-outliers"):
            return 4.0 * self.chunk_tokens * self.outlier_channels
        return numbers if receiver in {"qkv", "output", "ffn"} else 4.0 * numbers

    def load(self) -> TaskGraph:
        """Returns the graph on the platform; its tasks are numbered chunk by chunk and block by block.

        Raises:
            HetgymError: If there is no platform, or it lacks the rates.
        """
        if self._platform is None:
            raise HetgymError("npu-prefill: platform: give one with rates for fp32 and int8, such as phone-soc")
        structure = structure_of(self._calls())
        chunk = np.arange(len(structure.kernels)) // (len(_PREFILL) * self.blocks)
        work = [self._work(each) for each in range(self.chunks)]
        operation, precision, flop, num_bytes = zip(
            *(work[each][step] for each, step in zip(chunk, structure.kernels, strict=True)), strict=True
        )
        return task_graph_from_work(
            name=f"npu-prefill-{self.chunks}x{self.blocks}",
            platform=self._platform,
            flop=flop,
            num_bytes=num_bytes,
            edges=structure.edges,
            edge_bytes=[
                self._edge_bytes(structure.kernels[receiver], chunk[sender] < chunk[receiver])
                for sender, receiver in structure.edges.T
            ],
            operation=operation,
            precision=precision,
            task_names=structure.names,
        )


def npu_prefill(platform: Platform, chunks: int = 4, blocks: int = 4, **settings: Any) -> TaskGraph:
    """Returns a prompt's way through a language model, 9 tasks for each chunk and block.

    Args:
        platform: Gives the rates.
        chunks: As in `NpuPrefill`.
        blocks: As in `NpuPrefill`.
        settings: Other attributes of `NpuPrefill`.

    Raises:
        HetgymError: If an argument is out of range, or the platform lacks rates.
    """
    return graph_from(NpuPrefill, "npu_prefill", platform=platform, chunks=chunks, blocks=blocks, **settings)
