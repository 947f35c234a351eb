"""Message passing over the observation's graph, both ways along the edges."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch
from torch import Tensor, nn
from torch_geometric.nn import SimpleConv

from ..network_settings import Encoder
from .batch import Graphs
from .segments import segment_log_softmax, segment_sum

DENSITY = 1 / 16
"""From this share of all pairs of nodes on, messages are a dense matrix.

With graphs of one size the dense form is faster from 1/40 on, with decisions on ``random`` (1/47 and below) the sparse
one is 1.5 to 4 times as fast (``python benchmarks/message_forms.py``).
"""


@dataclass(frozen=True)
class Messages:
    """M messages among R rows, two for each edge: from sender to receiver, and back.

    A row has two places: what it hears from its senders is summed at place 2 * row, what from its receivers at the
    next one.

    Attributes:
        source: int64 (M,), whose embedding is sent, a row.
        place: int64 (M,), where it is heard.
        features: float32 (M, Fe), of the edge.
    """

    source: Tensor
    place: Tensor
    features: Tensor

    @classmethod
    def along(cls, edges: Tensor, features: Tensor) -> Messages:
        """Returns the messages along edges, int64 (2, E), with features, float32 (E, Fe)."""
        sender, receiver = edges
        return cls(
            torch.cat([sender, receiver]),
            torch.cat([2 * receiver, 2 * sender + 1]),
            torch.cat([features, features]),
        )

    def reaching(self, num_rows: int) -> Messages:
        """Returns those that the first rows hear."""
        heard = self.place < 2 * num_rows
        return Messages(self.source[heard], self.place[heard], self.features[heard])

    @cached_property
    def shares(self) -> Tensor:
        """Returns for each message one over the number of those heard at its place, float32 (M,)."""
        return torch.bincount(self.place).float().reciprocal().index_select(0, self.place)


class MeanRound(nn.Module):
    """A node hears the mean of its senders and the mean of its receivers: h' = h + relu(A [h, senders, receivers])."""

    def __init__(self, hidden: int, edge_features: int) -> None:
        """Makes the layer; edges' features are not read."""
        super().__init__()
        self.update = nn.Linear(3 * hidden, hidden)

    def weights(self, hidden: Tensor, messages: Messages) -> Tensor:
        """Returns how much each message counts, float32 (M,)."""
        return messages.shares

    def forward(self, hidden: Tensor, heard: Tensor) -> Tensor:
        """Returns embeddings after the round, (R, hidden), of those before and what is heard, (R, 2 * hidden)."""
        return hidden + torch.relu(self.update(torch.cat([hidden, heard], dim=1)))


class SumRound(nn.Module):
    """A node hears sums, so it can count, and takes them in with an MLP, as in GIN (Xu et al., arXiv:1810.00826)."""

    def __init__(self, hidden: int, edge_features: int) -> None:
        """Makes the layers; edges' features are not read."""
        super().__init__()
        self.update = nn.Sequential(nn.Linear(3 * hidden, hidden), nn.ReLU(), nn.Linear(hidden, hidden))

    def weights(self, hidden: Tensor, messages: Messages) -> Tensor:
        """Returns how much each message counts, float32 (M,)."""
        return hidden.new_ones(len(messages.source))

    def forward(self, hidden: Tensor, heard: Tensor) -> Tensor:
        """Returns embeddings after the round, (R, hidden), of those before and what is heard, (R, 2 * hidden)."""
        updated: Tensor = self.update(torch.cat([hidden, heard], dim=1))
        return hidden + updated


class AttentionRound(MeanRound):
    """A node weighs what it hears by attention, as in GATv2 (Brody et al., arXiv:2105.14491), edges included.

    The logit of a message is a . leaky(S h_source + H h_hearer + E edge), with S and H of its direction; a is narrow,
    since these are computed for every message.
    """

    WIDTH = 8

    def __init__(self, hidden: int, edge_features: int) -> None:
        """Makes the layers."""
        super().__init__(hidden, edge_features)
        self.source = nn.Linear(hidden, 2 * self.WIDTH, bias=False)
        self.hearer = nn.Linear(hidden, 2 * self.WIDTH)
        self.edge = nn.Linear(edge_features, self.WIDTH, bias=False)
        self.attention = nn.Linear(self.WIDTH, 1, bias=False)

    def weights(self, hidden: Tensor, messages: Messages) -> Tensor:
        """Returns how much each message counts, float32 (M,)."""
        direction = messages.place % 2
        parts = (
            self.source(hidden).view(-1, self.WIDTH).index_select(0, 2 * messages.source + direction)
            + self.hearer(hidden).view(-1, self.WIDTH).index_select(0, messages.place)
            + self.edge(messages.features)
        )
        logits = self.attention(nn.functional.leaky_relu(parts, 0.2)).squeeze(1)
        return segment_log_softmax(logits, messages.place, 2 * len(hidden)).exp()


ROUNDS = {"mean": MeanRound, "gin": SumRound, "gat": AttentionRound}
"""A round of message passing by its name."""


class GraphEncoder(nn.Module):
    """Rounds of message passing after a linear map of the node features; see `ROUNDS`.

    Messages are summed one by one (sparse) or by a matrix for each graph (dense), whichever is faster; both give the
    same. In the sparse form only what reaches the nodes asked for is computed: after r of R rounds, nodes at most
    R - r edges away from them.
    """

    def __init__(self, node_features: int, edge_features: int, hidden: int, rounds: int, encoder: Encoder) -> None:
        """Makes the layers.

        Args:
            node_features: Fn.
            edge_features: Fe.
            hidden: Width of a node's embedding.
            rounds: How often nodes hear from their neighbours.
            encoder: How.
        """
        super().__init__()
        self.embed = nn.Linear(node_features, hidden)
        self.sum = SimpleConv(aggr="sum")
        self.rounds = nn.ModuleList(ROUNDS[encoder](hidden, edge_features) for _ in range(rounds))

    @property
    def _rounds(self) -> list[MeanRound | SumRound]:
        return cast("list[MeanRound | SumRound]", list(self.rounds))

    def forward(self, graphs: Graphs) -> tuple[Tensor, Tensor]:
        """Returns embeddings, float32 (rows, hidden), and each node's row among them, int64 (N,).

        Rows of nodes that are not asked for lie beyond the embeddings, or mean nothing.
        """
        return self.dense(graphs) if graphs.density >= DENSITY else self.sparse(graphs)

    def sparse(self, graphs: Graphs) -> tuple[Tensor, Tensor]:
        """Returns what `forward` does: messages are summed one by one."""
        # By distance, so that the nodes that a round needs come first.
        rings = [(graphs.away == distance).nonzero().squeeze(1) for distance in range(len(self.rounds) + 1)]
        order = torch.cat(rings)
        row = torch.empty_like(order)
        row[order] = torch.arange(len(order), device=order.device)

        messages = Messages.along(row[graphs.edges], graphs.edge_features)
        hidden = torch.relu(self.embed(graphs.nodes.index_select(0, order)))
        for layer, furthest in zip(self._rounds, reversed(rings), strict=False):
            needed = len(hidden) - len(furthest)
            messages = messages.reaching(needed)
            sent = torch.stack([messages.source, messages.place])
            heard = self.sum((hidden, None), sent, layer.weights(hidden, messages), size=(len(hidden), 2 * needed))
            hidden = layer(hidden[:needed], heard.view(needed, 2 * hidden.shape[1]))
        return hidden, row

    def dense(self, graphs: Graphs) -> tuple[Tensor, Tensor]:
        """Returns what `forward` does: each graph's messages are a matrix; graphs are padded to the largest."""
        width, num_graphs = graphs.largest, len(graphs.num_nodes)
        row = graphs.situation * width + graphs.position
        nodes = graphs.nodes.new_zeros(num_graphs * width, graphs.nodes.shape[1])
        nodes[row] = graphs.nodes

        messages = Messages.along(row[graphs.edges], graphs.edge_features)
        cell = messages.place * width + messages.source % width
        hidden = torch.relu(self.embed(nodes))
        for layer in self._rounds:
            matrix = segment_sum(layer.weights(hidden, messages), cell, 2 * len(hidden) * width)
            heard = torch.bmm(matrix.view(num_graphs, 2 * width, width), hidden.view(num_graphs, width, -1))
            hidden = layer(hidden, heard.view(len(hidden), -1))
        return hidden, row
