"""One network for every family: it scores candidates one by one, whatever their number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from ...envs import ObservationSchema
from .encoder import GraphEncoder

MASKED = -1e8
"""The logit of a masked candidate."""


@dataclass(frozen=True)
class NetworkSettings:
    """The size of a `CandidateScorer`.

    Attributes:
        hidden: Width of all layers.
        rounds: Rounds of message passing over the graph; 0 leaves the graph out.
    """

    hidden: Annotated[int, Field(ge=1, le=4096)] = 64
    rounds: Annotated[int, Field(ge=0, le=64)] = 2


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
        width = len(schema.candidates) + context
        self.encoder: GraphEncoder | None = None
        self.settled = -1
        if settings.rounds > 0 and schema.nodes:
            self.encoder = GraphEncoder(len(schema.nodes), hidden, settings.rounds)
            width += schema.nodes_per_candidate * hidden
            names = [feature.name for feature in schema.nodes]
            self.settled = names.index(schema.settled) if schema.settled else -1
        self.candidate = nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh())
        self.score = nn.Linear(hidden, 1)
        self.attention = nn.Linear(hidden, 1)
        self.value = nn.Sequential(nn.Linear(hidden + context, hidden), nn.Tanh(), nn.Linear(hidden, 1))
        nn.init.orthogonal_(self.score.weight, 0.01)
        nn.init.zeros_(self.score.bias)

    def forward(self, observation: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Returns logits, float32 (B, A), and values, float32 (B, 1).

        Args:
            observation: The observation's arrays as tensors, (B, ...) each, of any number type.
        """
        mask = observation["action_mask"] > 0
        graph, action = mask.nonzero(as_tuple=True)
        context = observation["context"]
        parts = [observation["candidates"][graph, action], context[graph]]
        if self.encoder is not None:
            parts.append(self._node_embeddings(observation, graph, action))
        candidates = self.candidate(torch.cat(parts, dim=1))

        logits = torch.full(mask.shape, MASKED, dtype=candidates.dtype, device=candidates.device)
        logits[graph, action] = self.score(candidates).squeeze(1)

        weight = self.attention(candidates).squeeze(1).exp()
        total = torch.zeros(len(mask), device=weight.device).index_add(0, graph, weight)
        pooled = torch.zeros(len(mask), candidates.shape[1], device=weight.device)
        pooled = pooled.index_add(0, graph, candidates * (weight / total[graph]).unsqueeze(1))
        return logits, self.value(torch.cat([pooled, context], dim=1))

    def _node_embeddings(self, observation: Mapping[str, Tensor], graph: Tensor, action: Tensor) -> Tensor:
        """Returns the embeddings of the nodes that each candidate speaks of, float32 (candidates, m * hidden)."""
        assert self.encoder is not None
        nodes, counts = observation["nodes"], observation["counts"].long()
        batch, most_nodes = nodes.shape[:2]
        kept = torch.arange(most_nodes, device=nodes.device) < counts[:, :1]
        if self.settled >= 0:
            kept &= nodes[:, :, self.settled] == 0
        # Row of each kept node among all kept ones; the last row, of zeros, stands for no node.
        number = torch.full((batch, most_nodes + 1), -1, dtype=torch.long, device=nodes.device)
        number[:, :most_nodes][kept] = torch.arange(int(kept.sum()), device=nodes.device)

        most_edges = observation["edges"].shape[2]
        edge_graph, edge = (torch.arange(most_edges, device=nodes.device) < counts[:, 1:]).nonzero(as_tuple=True)
        ends = observation["edges"].long()[edge_graph, :, edge]
        edges = torch.stack([number[edge_graph, ends[:, 0]], number[edge_graph, ends[:, 1]]])
        edges = edges[:, (edges >= 0).all(dim=0)]

        hidden = self.encoder(nodes[kept], edges)
        hidden = torch.cat([hidden, hidden.new_zeros(1, hidden.shape[1])])
        spoken_of = observation["candidate_nodes"].long()[graph, action]
        return hidden[number[graph.unsqueeze(1), spoken_of]].flatten(1)
