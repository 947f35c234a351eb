"""Message passing over the observation's graph, both ways along the edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import SimpleConv


class GraphEncoder(nn.Module):
    """Rounds of message passing: a node hears the mean of its senders and the mean of its receivers.

    h' = h + relu(A [h, mean of senders, mean of receivers]), after a linear map of the node features. Only what
    reaches the nodes asked for is computed: after r of R rounds, nodes at most R - r edges away from them.
    """

    def __init__(self, node_features: int, hidden: int, rounds: int) -> None:
        """Makes the layers.

        Args:
            node_features: Fn.
            hidden: Width of a node's embedding.
            rounds: How often nodes hear from their neighbours.
        """
        super().__init__()
        self.embed = nn.Linear(node_features, hidden)
        self.means = SimpleConv(aggr="mean")
        self.rounds = nn.ModuleList(nn.Linear(3 * hidden, hidden) for _ in range(rounds))

    def forward(self, nodes: Tensor, away: Tensor, edges: Tensor) -> tuple[Tensor, Tensor]:
        """Returns embeddings, float32 (nodes asked for, hidden), and each node's row among them, int64 (nodes,).

        Rows of nodes that are not asked for lie beyond the embeddings.

        Args:
            nodes: float32 (nodes, Fn), the nodes of all graphs.
            away: int64 (nodes,), edges between a node and the nearest one asked for; none is further than rounds.
            edges: int64 (2, edges), sender and receiver.
        """
        # By distance, so that the nodes that a round needs come first.
        rings = [(away == distance).nonzero().squeeze(1) for distance in range(len(self.rounds) + 1)]
        order = torch.cat(rings)
        row = torch.empty_like(order)
        row[order] = torch.arange(len(order), device=order.device)

        # Each node has two places, for what it hears from its senders and from its receivers.
        sender, receiver = row[edges]
        messages = torch.stack([torch.cat([sender, receiver]), torch.cat([2 * receiver, 2 * sender + 1])])
        hidden = torch.relu(self.embed(nodes.index_select(0, order)))
        for linear, furthest in zip(self.rounds, reversed(rings), strict=False):
            needed = len(hidden) - len(furthest)
            heeded = messages[1] < 2 * needed
            messages = messages[:, heeded]
            heard = self.means((hidden, None), messages, size=(len(hidden), 2 * needed))
            heard = heard.view(needed, 2 * hidden.shape[1])
            hidden = hidden[:needed]
            hidden = hidden + torch.relu(linear(torch.cat([hidden, heard], dim=1)))
        return hidden, row
