"""One network for every family: it scores candidates one by one, whatever their number."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

import torch
from torch import Tensor, nn

from ...envs import ObservationSchema
from .batch import CandidateBatch, Graphs
from .encoder import GraphEncoder
from .segments import segment_log_softmax, segment_sum
from .settings import NetworkSettings


class CandidateScorer(nn.Module):
    """Scores each allowed candidate from its features, its nodes and the context; values the situation.

    The score of a candidate comes from a shared network; the value from the context and an attention-weighted
    mean of the candidates. Masked candidates and settled nodes are left out before anything is computed.
    """

    def __init__(self, schema: ObservationSchema, settings: NetworkSettings) -> None:
        """Makes the layers.

        Args:
            schema: What the columns of the observation are.
            settings: The size.
        """
        super().__init__()
        hidden, context = settings.hidden, len(schema.context)
        self._schema, self._settings = schema, settings
        self.candidate = nn.Linear(len(schema.candidates) + context, hidden)
        self.encoder: GraphEncoder | None = None
        if schema.nodes and settings.rounds > 0:
            self.encoder = GraphEncoder(len(schema.nodes), hidden, settings.rounds)
            self.nodes = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(schema.nodes_per_candidate))
        self.body = nn.Sequential(nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())
        self.heads = nn.Linear(hidden, settings.outputs + 1)
        self.value = nn.Sequential(nn.Linear(hidden + context, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        nn.init.orthogonal_(self.heads.weight[:-1], 0.01)
        nn.init.zeros_(self.heads.bias)

    def read(self, observation: Mapping[str, Tensor]) -> CandidateBatch:
        """Returns what the network reads of an observation, (B, ...) each, of any number type."""
        return CandidateBatch.of(observation, self._schema, self._settings)

    def forward(self, batch: CandidateBatch) -> tuple[Tensor, Tensor]:
        """Returns the candidates' scores, float32 (C,), and the situations' values, float32 (B,)."""
        outputs, values = self.outputs(batch)
        return outputs.mean(dim=1), values

    def outputs(self, batch: CandidateBatch) -> tuple[Tensor, Tensor]:
        """Returns the candidates' numbers, float32 (C, outputs), and the situations' values, float32 (B,)."""
        situation, num_situations = batch.situation, len(batch.context)
        candidates = self.candidate(torch.cat([batch.candidates, batch.context.index_select(0, situation)], dim=1))
        if self.encoder is not None:
            assert batch.graphs is not None
            candidates = candidates + self._node_part(batch.graphs)
        candidates = self.body(candidates)
        heads = self.heads(candidates)
        outputs, attention = heads[:, :-1], heads[:, -1]
        weight = segment_log_softmax(attention, situation, num_situations).exp()
        pooled = segment_sum(candidates * weight.unsqueeze(1), situation, num_situations)
        return outputs, self.value(torch.cat([pooled, batch.context], dim=1)).squeeze(1)

    def _node_part(self, graphs: Graphs) -> Tensor:
        """Returns what the nodes that each candidate speaks of add to it, float32 (C, hidden)."""
        assert self.encoder is not None
        hidden, row = self.encoder(graphs.nodes, graphs.away, graphs.edges)
        # One more row, of zeros, stands for no node.
        spoken_of = nn.functional.pad(row, (0, 1), value=len(hidden))[graphs.spoken_of]
        parts = (
            nn.functional.pad(linear(hidden), (0, 0, 0, 1)).index_select(0, spoken_of[:, position])
            for position, linear in enumerate(self.nodes)
        )
        return reduce(torch.add, parts)
