"""Message passing, joined nodes, jobs and pooled rivals, each beside the same in plain loops."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from hetgym.agents import make_policy
from hetgym.agents.networks import CandidateBatch, CandidateScorer, NetworkSettings
from hetgym.agents.networks.batch import ABSENT, Graphs
from hetgym.agents.networks.encoder import DENSITY, ROUNDS, AttentionRound, GraphEncoder
from hetgym.agents.networks.pooling import Hierarchy, NodeJoin
from hetgym.agents.networks.segments import segment_mean
from hetgym.envs import TaskGraphScenario, load_scenario
from hetgym.envs.core.simulator import Arrays
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.workloads import RandomGraphs, random_task_graph

HIDDEN = 16
encoders = pytest.mark.parametrize("encoder", ROUNDS)


def simulator_for(sizes: list[int]) -> TaskGraphSimulator:
    """Graphs of so many tasks on 3 devices, nothing decided."""
    room = RandomGraphs(num_tasks=max(sizes), num_devices=3)
    simulator = TaskGraphScenario(name="room", workload=room).simulator(len(sizes))
    simulator.reset(range(len(sizes)), [random_task_graph(size, 3, seed=size) for size in sizes])
    return simulator


def act(simulator: TaskGraphSimulator, decisions: int = 1) -> None:
    for _ in range(decisions):
        simulator.step(make_policy("random").act(simulator.observation, simulator))


def tensors(observation: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in observation.items()}


def scorer(simulator: TaskGraphSimulator, rounds: int, **form: Any) -> CandidateScorer:
    """A network whose scores differ by much more than rounding: it begins with near-equal ones."""
    torch.manual_seed(1)
    network = CandidateScorer(simulator.schema, NetworkSettings(HIDDEN, rounds, **form))
    torch.nn.init.normal_(network.heads.weight)
    return network


def logits(network: CandidateScorer, observation: Arrays) -> Tensor:
    """Returns the logits of the first situation, (A,)."""
    with torch.inference_mode():
        batch = network.read(tensors(observation))
        return batch.padded(network(batch)[0], observation["action_mask"].shape[1])[0]


def assert_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


def stream() -> TaskGraphScenario:
    """Jobs of two kinds; four may be active at a time."""
    scenario = load_scenario("soc-stream-high", active_jobs=4, num_jobs=30)
    assert isinstance(scenario, TaskGraphScenario)
    return scenario


def batch_of(hierarchy: bool = False, decisions: int = 4) -> CandidateBatch:
    """Situations of graphs of several sizes, some with nothing left to decide."""
    settings, simulator, parts = NetworkSettings(HIDDEN, 2, hierarchy=hierarchy), simulator_for([1, 12, 5, 2]), []
    for _ in range(decisions):
        parts.append(CandidateBatch.of(tensors(simulator.observation), simulator.schema, settings))
        act(simulator)
    return CandidateBatch.concatenate(parts)


def graphs_of(batch: CandidateBatch) -> Graphs:
    assert batch.graphs is not None
    return batch.graphs


def encoder_for(encoder: Any, rounds: int = 2) -> GraphEncoder:
    torch.manual_seed(0)
    return GraphEncoder(12, 1, HIDDEN, rounds, encoder)


@encoders
@pytest.mark.parametrize("hierarchy", [False, True])
def test_dense_and_sparse_forms_agree(encoder: str, hierarchy: bool) -> None:
    """Nodes asked for have the same embeddings, and these the same gradients."""
    network, graphs = encoder_for(encoder), graphs_of(batch_of(hierarchy))
    asked = graphs.away == 0
    direction = torch.randn(int(asked.sum()), HIDDEN, generator=torch.Generator().manual_seed(0))
    found = []
    for form in (network.sparse, network.dense):
        network.zero_grad()
        hidden, row = form(graphs)
        embeddings = hidden[row[asked]]
        (embeddings * direction).sum().backward()
        found.append([embeddings.detach(), *(parameter.grad.clone() for parameter in network.parameters())])  # type: ignore[union-attr]
    for sparse, dense in zip(*found, strict=True):
        torch.testing.assert_close(sparse, dense, rtol=1e-4, atol=1e-5)
    assert found[0][0].std() > 0.1


@pytest.mark.parametrize("num_nodes", [5, 40])
def test_form_is_chosen_by_density(num_nodes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chain of n nodes has n - 1 of n^2 edges."""
    monkeypatch.setattr(GraphEncoder, "sparse", lambda *_: "sparse")
    monkeypatch.setattr(GraphEncoder, "dense", lambda *_: "dense")
    chain = torch.arange(num_nodes - 1)
    graphs = Graphs(
        nodes=torch.zeros(num_nodes, 12),
        away=torch.zeros(num_nodes, dtype=torch.int64),
        edges=torch.stack([chain, chain + 1]),
        edge_features=torch.zeros(num_nodes - 1, 1),
        jobs=torch.zeros(num_nodes, dtype=torch.int64),
        spoken_of=torch.zeros(1, 2, dtype=torch.int64),
        num_nodes=torch.tensor([num_nodes]),
        num_edges=torch.tensor([num_nodes - 1]),
    )
    assert graphs.density == pytest.approx((num_nodes - 1) / num_nodes**2)
    assert encoder_for("mean")(graphs) == ("dense" if graphs.density >= DENSITY else "sparse")
    assert (graphs.density >= DENSITY) == (num_nodes == 5)


def neighbours(graphs: Graphs, node: int) -> Iterator[list[tuple[int, int]]]:
    """Gives (neighbour, edge) of the senders of a node, then of its receivers."""
    edges = list(enumerate(graphs.edges.T.tolist()))
    yield [(sender, edge) for edge, (sender, receiver) in edges if receiver == node]
    yield [(receiver, edge) for edge, (sender, receiver) in edges if sender == node]


def attention(layer: AttentionRound, direction: int, pairs: Tensor, hearer: Tensor, features: Tensor) -> Tensor:
    part = slice(layer.WIDTH * direction, layer.WIDTH * (direction + 1))
    inner = layer.source(pairs)[:, part] + layer.hearer(hearer)[part] + layer.edge(features)
    return layer.attention(nn.functional.leaky_relu(inner, 0.2))[:, 0].softmax(dim=0)  # type: ignore[no-any-return]


@encoders
def test_round_is_what_its_formula_says(encoder: str) -> None:
    network, graphs = encoder_for(encoder, rounds=1), graphs_of(batch_of(hierarchy=True))
    layer = network.rounds[0]
    with torch.inference_mode():
        before = torch.relu(network.embed(graphs.nodes))
        hidden, row = network(graphs)
        degrees = set()
        for node in range(len(graphs.nodes)):
            heard = []
            for direction, pairs in enumerate(neighbours(graphs, node)):
                senders = before[[neighbour for neighbour, _ in pairs]]
                features = graphs.edge_features[[edge for _, edge in pairs]]
                weight = torch.ones(len(pairs))
                if encoder == "mean":
                    weight /= max(len(pairs), 1)
                elif encoder == "gat" and pairs:
                    weight = attention(layer, direction, senders, before[node], features)
                heard.append((weight[:, None] * senders).sum(dim=0))
                degrees.add(len(pairs))
            update = layer.update(torch.cat([before[node], *heard]))
            assert_close(hidden[row[node]], before[node] + (update if encoder == "gin" else torch.relu(update)))
    assert {0, 1, 2, 3} <= degrees


def test_nodes_hear_the_candidates_that_speak_of_them() -> None:
    join, batch = NodeJoin(2, HIDDEN, hears=True), batch_of()
    spoken_of, num_nodes = graphs_of(batch).spoken_of, len(graphs_of(batch).nodes)
    assert (spoken_of == ABSENT).any()
    draw = torch.Generator().manual_seed(0)
    candidates = torch.randn(len(spoken_of), HIDDEN, generator=draw)
    nodes = torch.randn(num_nodes, HIDDEN, generator=draw)
    with torch.inference_mode():
        joined = join(candidates, nodes, torch.arange(num_nodes), spoken_of)
        read = [
            candidate + sum(join.nodes[p](nodes[node]) for p, node in enumerate(spoken) if node != ABSENT)
            for candidate, spoken in zip(candidates, spoken_of.tolist(), strict=True)
        ]
        for index, spoken in enumerate(spoken_of.tolist()):
            expected = read[index]
            for p, node in enumerate(spoken):
                if node != ABSENT:
                    said = [torch.relu(read[other]) for other in (spoken_of[:, p] == node).nonzero()[:, 0].tolist()]
                    expected = expected + join.heard[p](torch.stack(said).mean(dim=0))
            assert_close(joined[index], expected)


def reached(network: CandidateScorer, observation: Arrays, changed: int) -> list[int]:
    """Returns the actions whose logits depend on a feature of the candidate of one action."""
    candidates = observation["candidates"].copy()
    candidates[0, changed, 1] += 3
    differs = logits(network, observation) - logits(network, observation | {"candidates": candidates})
    return (differs.abs() > 1e-6).nonzero()[:, 0].tolist()  # type: ignore[no-any-return]


@pytest.mark.parametrize("rounds", [0, 1])
@pytest.mark.parametrize("pooling", ["value", "scores", "nodes"])
def test_who_hears_of_a_candidate(rounds: int, pooling: str) -> None:
    """By its task and its device it reaches those that share one; by pooled scores, all."""
    simulator = simulator_for([12])
    act(simulator, 2)
    observation = simulator.observation
    nodes = observation["candidate_nodes"][0]
    allowed = np.flatnonzero(observation["action_mask"][0]).tolist()
    sharing = [action for action in allowed if (nodes[action] == nodes[allowed[0]]).any()]
    assert 1 < len(sharing) < len(allowed)
    network = scorer(simulator, rounds, pooling=pooling)
    expected = {"value": allowed[:1], "scores": allowed, "nodes": sharing}
    assert reached(network, observation, allowed[0]) == expected[pooling]


def test_jobs_are_means_of_their_tasks() -> None:
    """And situations of their jobs; a candidate reads the job of its task."""
    simulator = stream().simulator(3)
    simulator.reset(range(3))
    act(simulator, 30)
    settings = NetworkSettings(HIDDEN, 1, hierarchy=True)
    batch = CandidateBatch.of(tensors(simulator.observation), simulator.schema, settings)
    graphs, hierarchy = graphs_of(batch), Hierarchy(HIDDEN)
    draw = torch.Generator().manual_seed(0)
    nodes = torch.randn(len(graphs.nodes), HIDDEN, generator=draw)
    candidates = torch.randn(len(batch.action), HIDDEN, generator=draw)
    with torch.inference_mode():
        found, wholes = hierarchy(candidates, nodes, batch)
        several = set()
        for situation in range(3):
            inside = graphs.situation == situation
            names = sorted(set(graphs.jobs[inside].tolist()) - {ABSENT})
            members = [nodes[inside & (graphs.jobs == name)].mean(dim=0) for name in names]
            jobs = [torch.relu(hierarchy.job(mean)) for mean in members]
            whole = torch.relu(hierarchy.whole(torch.stack(jobs).mean(dim=0)))
            assert_close(wholes[situation], whole)
            several.add(len(names))
            for index in (batch.situation == situation).nonzero()[:, 0].tolist():
                expected = candidates[index] + hierarchy.from_whole(whole)
                task = graphs.spoken_of[index, 0]
                if task != ABSENT:
                    expected = expected + hierarchy.from_job(jobs[names.index(int(graphs.jobs[task]))])
                assert_close(found[index], expected)
    assert max(several) > 1
    assert (graphs.spoken_of[:, 0] == ABSENT).any()


def test_hierarchy_sees_what_is_far() -> None:
    """A change of the last task reaches the first decision, whose messages come from one edge away."""
    simulator = simulator_for([12])
    observation = simulator.observation
    nodes = observation["nodes"].copy()
    nodes[0, 3 + 11, 4] += 3
    for hierarchy in (False, True):
        network = scorer(simulator, 1, hierarchy=hierarchy)
        same = torch.equal(logits(network, observation), logits(network, observation | {"nodes": nodes}))
        assert same != hierarchy


def test_situation_without_a_task_has_no_job() -> None:
    simulator = simulator_for([1, 3])
    act(simulator, 3)
    network = scorer(simulator, 2, hierarchy=True)
    batch = network.read(tensors(simulator.observation))
    assert not (graphs_of(batch).jobs != ABSENT).any()
    scores, values = network(batch)
    assert scores.isfinite().all()
    assert values.isfinite().all()


def test_mean_of_an_empty_segment_is_zero() -> None:
    rows, segment = torch.tensor([[1.0, 2.0], [3.0, 6.0], [5.0, 5.0]]), torch.tensor([2, 2, 0])
    assert segment_mean(rows, segment, 4).tolist() == [[5.0, 5.0], [0.0, 0.0], [2.0, 4.0], [0.0, 0.0]]
