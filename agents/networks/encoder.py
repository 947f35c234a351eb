"""Message passing over the observation's graph, both ways along the edges."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch_geometric.nn import SimpleConv


class GraphEncoder(nn.Module):
    """Rounds of message passing: a node hears the mean of its senders and the mean of its receivers.

    h' = h + relu(A h + B mean of senders + C mean of receivers), after a linear map of the node features.
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
        self.own = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(rounds))
        self.senders = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(rounds))
        self.receivers = nn.ModuleList(nn.Linear(hidden, hidden, bias=False) for _ in range(rounds))
        self.mean = SimpleConv(aggr="mean")

    def forward(self, nodes: Tensor, edges: Tensor) -> Tensor:
        """Returns embeddings, float32 (nodes, hidden).

        Args:
            nodes: float32 (nodes, Fn), the nodes of all graphs.
            edges: int64 (2, edges), sender and receiver.
        """
        backwards = edges.flip(0)
        hidden = torch.relu(self.embed(nodes))
        for own, senders, receivers in zip(self.own, self.senders, self.receivers, strict=True):
            heard = senders(self.mean(hidden, edges)) + receivers(self.mean(hidden, backwards))
            hidden = hidden + torch.relu(own(hidden) + heard)
        return hidden
