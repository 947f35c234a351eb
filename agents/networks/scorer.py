"""One network for every family: it scores candidates one by one, whatever their number."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ...envs import ObservationSchema
from ..network_settings import NetworkSettings
from .batch import CandidateBatch
from .encoder import GraphEncoder
from .pooling import AttentionPooling, Hierarchy, NodeJoin


class CandidateScorer(nn.Module):
    """Scores each allowed candidate from its features, its nodes and the context; values the situation.

    The score of a candidate comes from a shared network; the value from the context and an attention-weighted
    mean of the candidates. Masked candidates and settled nodes are left out before anything is computed. What else a
    candidate's score depends on is a choice of `NetworkSettings`.
    """

    def __init__(self, schema: ObservationSchema, settings: NetworkSettings) -> None:
        """Makes the layers.

        Args:
            schema: What the columns of the observation are.
            settings: The form and the size.
        """
        super().__init__()
        hidden, context = settings.hidden, len(schema.context)
        self._schema, self._settings = schema, settings
        self.candidate = nn.Linear(len(schema.candidates) + context, hidden)
        self.encoder: GraphEncoder | None = None
        self.hierarchy: Hierarchy | None = None
        if schema.nodes and settings.reads_graph:
            self.encoder = GraphEncoder(
                len(schema.nodes), len(schema.edge_features), hidden, settings.rounds, settings.encoder
            )
            self.join = NodeJoin(schema.nodes_per_candidate, hidden, settings.pooling == "nodes")
            self.hierarchy = Hierarchy(hidden) if settings.hierarchy else None
        self.body = nn.Sequential(nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())
        self.pooling = AttentionPooling(hidden, settings.pooling == "scores")
        self.heads = nn.Linear(hidden, settings.outputs)
        summary = hidden * (2 if self.hierarchy else 1) + context
        self.value = nn.Sequential(nn.Linear(summary, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        nn.init.orthogonal_(self.heads.weight, 0.01)
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
        situation, summary = batch.situation, [batch.context]
        candidates = self.candidate(torch.cat([batch.candidates, batch.context.index_select(0, situation)], dim=1))
        if self.encoder is not None:
            assert batch.graphs is not None
            nodes, row = self.encoder(batch.graphs)
            candidates = self.join(candidates, nodes, row, batch.graphs.spoken_of)
            if self.hierarchy is not None:
                candidates, whole = self.hierarchy(candidates, nodes.index_select(0, row), batch)
                summary.append(whole)
        candidates, pooled = self.pooling(self.body(candidates), situation, len(batch.context))
        return self.heads(candidates), self.value(torch.cat([pooled, *summary], dim=1)).squeeze(1)
