"""Situations as a network reads them: what is masked or settled is left out, and nothing is padded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...envs import ObservationSchema
from ..network_settings import NetworkSettings

ABSENT = -1
"""Stands for no node."""
MASKED = -1e8
"""The logit of a masked candidate."""


@dataclass(frozen=True)
class Graphs:
    """The graphs of B situations, N unsettled nodes and the E edges among them, situation after situation.

    Attributes:
        nodes: float32 (N, Fn), features.
        away: int64 (N,), edges between a node and the nearest one that a candidate speaks of.
        edges: int64 (2, E), sender and receiver, rows of `nodes`.
        edge_features: float32 (E, Fe), features.
        jobs: int64 (N,), which of its situation's jobs a node is of, or `ABSENT`.
        spoken_of: int64 (C, m), rows of `nodes` that each candidate speaks of, or `ABSENT`.
        num_nodes: int64 (B,).
        num_edges: int64 (B,).
    """

    nodes: Tensor
    away: Tensor
    edges: Tensor
    edge_features: Tensor
    jobs: Tensor
    spoken_of: Tensor
    num_nodes: Tensor
    num_edges: Tensor

    @classmethod
    def of(
        cls,
        observation: Mapping[str, Tensor],
        situation: Tensor,
        action: Tensor,
        settled: int,
        settings: NetworkSettings,
    ) -> Graphs:
        """Leaves out padding, settled nodes, and what no message reaches a candidate from.

        Args:
            observation: The observation's arrays, (B, ...) each.
            situation: int64 (C,), whose each candidate is.
            action: int64 (C,), which of its candidates.
            settled: The column of the nodes that is 1 where nothing more is decided, or -1 if there is none.
            settings: How many edges from the nodes that candidates speak of others are kept; with hierarchy all are
                kept, as if candidates spoke of them.
        """
        furthest = settings.rounds
        nodes, counts = observation["nodes"], observation["counts"].long()
        batch, most_nodes = nodes.shape[:2]
        first = torch.arange(batch, device=nodes.device).unsqueeze(1) * (most_nodes + 1)
        spoken_of = (observation["candidate_nodes"].long()[situation, action] + first[situation]).flatten()
        whose, edge = _below(counts[:, 1], observation["edges"].shape[2]).nonzero(as_tuple=True)
        edges = observation["edges"].long()[whose, :, edge].T + first[whose].T
        live = _below(counts[:, 0], most_nodes + 1)
        if settled >= 0:
            live[:, :-1] &= nodes[:, :, settled] == 0

        among = live.flatten()[edges].all(dim=0)
        whose, edge, edges = whose[among], edge[among], edges[:, among]
        away = torch.full((batch * (most_nodes + 1),), furthest + 1, device=nodes.device)
        away[live.flatten() if settings.hierarchy else spoken_of] = 0
        for distance in range(1, furthest + 1):
            near = away[edges] < distance
            for here, there in ((0, 1), (1, 0)):
                neighbours = edges[there, near[here]]
                away[neighbours] = away[neighbours].clamp(max=distance)
        kept = (away <= furthest) & live.flatten()
        row = torch.full_like(away, ABSENT)
        row[kept] = torch.arange(int(kept.sum()), device=nodes.device)
        among = (away[edges] <= furthest).all(dim=0) & (away[edges] < furthest).any(dim=0)
        kept = kept.view(batch, -1)[:, :-1]
        jobs = observation["node_jobs"].long()
        return cls(
            nodes[kept],
            away.view(batch, -1)[:, :-1][kept],
            row[edges[:, among]],
            observation["edge_features"][whose[among], edge[among]],
            jobs.masked_fill(jobs >= counts[:, :1], ABSENT)[kept],
            row[spoken_of].view(len(action), -1),
            kept.sum(dim=1),
            torch.bincount(whose[among], minlength=batch),
        )

    @classmethod
    def concatenate(cls, parts: Sequence[Graphs]) -> Graphs:
        """Returns the graphs of all parts, in order."""
        first = [0]
        for part in parts[:-1]:
            first.append(first[-1] + len(part.nodes))
        spoken_of = [
            torch.where(part.spoken_of == ABSENT, ABSENT, part.spoken_of + shift)
            for part, shift in zip(parts, first, strict=True)
        ]
        return cls(
            torch.cat([part.nodes for part in parts]),
            torch.cat([part.away for part in parts]),
            torch.cat([part.edges + shift for part, shift in zip(parts, first, strict=True)], dim=1),
            torch.cat([part.edge_features for part in parts]),
            torch.cat([part.jobs for part in parts]),
            torch.cat(spoken_of),
            torch.cat([part.num_nodes for part in parts]),
            torch.cat([part.num_edges for part in parts]),
        )

    def select(self, chosen: Tensor, candidates: Tensor) -> Graphs:
        """Returns the graphs of some situations, each at most once, whose candidates are given as well, int64 each."""
        kept, edges = segment_rows(self.num_nodes, chosen), segment_rows(self.num_edges, chosen)
        row = kept.new_full((len(self.nodes) + 1,), ABSENT)
        row[kept] = torch.arange(len(kept), device=kept.device)
        return Graphs(
            self.nodes.index_select(0, kept),
            self.away.index_select(0, kept),
            row[self.edges.index_select(1, edges)],
            self.edge_features.index_select(0, edges),
            self.jobs.index_select(0, kept),
            row[self.spoken_of.index_select(0, candidates)],
            self.num_nodes[chosen],
            self.num_edges[chosen],
        )

    @cached_property
    def situation(self) -> Tensor:
        """Returns whose each node is, int64 (N,)."""
        return torch.repeat_interleave(self.num_nodes)

    @cached_property
    def position(self) -> Tensor:
        """Returns each node's place in its situation, int64 (N,)."""
        first = self.num_nodes.cumsum(0) - self.num_nodes
        return torch.arange(len(self.nodes), device=first.device) - first.index_select(0, self.situation)

    @cached_property
    def largest(self) -> int:
        """Returns how many nodes the largest graph has."""
        return int(self.num_nodes.max())

    @property
    def density(self) -> float:
        """Returns edges, as a share of the pairs of nodes if all graphs had as many as the largest."""
        return self.edges.shape[1] / max(len(self.num_nodes) * self.largest**2, 1)


@dataclass(frozen=True)
class CandidateBatch:
    """B situations with C allowed candidates, situation after situation.

    Attributes:
        context: float32 (B, Fg), features of the situations.
        candidates: float32 (C, Fc), features.
        action: int64 (C,), the actions that the candidates are.
        num_candidates: int64 (B,), at least one each.
        graphs: What the candidates speak of, for networks that read it.
    """

    context: Tensor
    candidates: Tensor
    action: Tensor
    num_candidates: Tensor
    graphs: Graphs | None

    @classmethod
    def of(
        cls, observation: Mapping[str, Tensor], schema: ObservationSchema, settings: NetworkSettings
    ) -> CandidateBatch:
        """Leaves out what is masked, settled or padding, and graphs that are not read; all tensors are copies.

        Args:
            observation: The observation's arrays as tensors, (B, ...) each, of any number type.
            schema: What the columns of the observation are.
            settings: The network's settings.
        """
        with_graphs = schema.nodes and settings.reads_graph
        mask = observation["action_mask"] > 0
        situation, action = mask.nonzero(as_tuple=True)
        return cls(
            observation["context"].clone(),
            observation["candidates"][situation, action],
            action,
            mask.sum(dim=1),
            Graphs.of(observation, situation, action, _settled(schema), settings) if with_graphs else None,
        )

    @classmethod
    def concatenate(cls, parts: Sequence[CandidateBatch]) -> CandidateBatch:
        """Returns the situations of all parts, in order."""
        graphs = [part.graphs for part in parts if part.graphs is not None]
        return cls(
            torch.cat([part.context for part in parts]),
            torch.cat([part.candidates for part in parts]),
            torch.cat([part.action for part in parts]),
            torch.cat([part.num_candidates for part in parts]),
            Graphs.concatenate(graphs) if graphs else None,
        )

    def select(self, chosen: Tensor) -> CandidateBatch:
        """Returns some situations, int64 (any number,), each at most once, in the order given."""
        rows = segment_rows(self.num_candidates, chosen)
        return CandidateBatch(
            self.context.index_select(0, chosen),
            self.candidates.index_select(0, rows),
            self.action.index_select(0, rows),
            self.num_candidates.index_select(0, chosen),
            self.graphs and self.graphs.select(chosen, rows),
        )

    def rows_of(self, actions: Tensor) -> Tensor:
        """Returns each situation's row for an action that it allows, int64 (B,)."""
        return (self.action == actions.index_select(0, self.situation)).nonzero().squeeze(1)

    def padded(self, scores: Tensor, num_actions: int) -> Tensor:
        """Returns scores of the candidates as logits of all actions, float32 (B, num_actions)."""
        logits = scores.new_full((len(self.context), num_actions), MASKED)
        logits[self.situation, self.action] = scores
        return logits

    @cached_property
    def situation(self) -> Tensor:
        """Returns whose each candidate is, int64 (C,)."""
        return torch.repeat_interleave(self.num_candidates)


def _settled(schema: ObservationSchema) -> int:
    names = [feature.name for feature in schema.nodes]
    return names.index(schema.settled) if schema.settled else -1


def _below(counts: Tensor, size: int) -> Tensor:
    """Returns for each count and each number below size whether that is below the count, bool (counts, size)."""
    return torch.arange(size, device=counts.device) < counts.unsqueeze(1)


def segment_rows(lengths: Tensor, chosen: Tensor) -> Tensor:
    """Returns the rows of some segments, which lie one after another, int64."""
    return consecutive((lengths.cumsum(0) - lengths)[chosen], lengths[chosen])


def consecutive(first: Tensor, lengths: Tensor) -> Tensor:
    """Returns the rows of segments that begin anywhere, segment after segment, int64."""
    shift = first - (lengths.cumsum(0) - lengths)
    rows = torch.repeat_interleave(shift, lengths)
    return rows + torch.arange(len(rows), device=rows.device)
