from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium import spaces
from torch import Tensor

from hetgym import HetgymError
from hetgym.agents import Policy, make_policy
from hetgym.agents.card import CARD, POLICY, Card
from hetgym.agents.checkpoint import load_network, package_versions, save_checkpoint
from hetgym.agents.learned import TEMPERATURE, LearnedPolicy, greedy
from hetgym.agents.networks import CandidateBatch, CandidateCategorical, CandidateScorer, NetworkSettings
from hetgym.agents.networks.batch import ABSENT
from hetgym.agents.ppo import CandidatePolicy
from hetgym.envs import ObservationSchema, TaskGraphScenario
from hetgym.envs.core.simulator import Arrays
from hetgym.envs.task_graph.features import PLAN_SCHEMA as SCHEMA
from hetgym.envs.task_graph.simulator import TaskGraphSimulator
from hetgym.evaluate.evaluation import play
from hetgym.workloads import RandomGraphs, TaskGraph, random_task_graph

NUM_DEVICES = 3
SETTLED = [feature.name for feature in SCHEMA.nodes].index(SCHEMA.settled)
GRAPHS = [random_task_graph(size, NUM_DEVICES, seed=size) for size in (8, 1, 5)]

rounds = pytest.mark.parametrize("rounds", [0, 1, 3])
FORMS: dict[str, dict[str, Any]] = {
    "mlp": {"rounds": 0, "pooling": "value"},
    "mlp-nodes": {"rounds": 0},
    "mlp-scores": {"rounds": 0, "pooling": "scores"},
    "mean": {"rounds": 3},
    "gin": {"rounds": 1, "encoder": "gin"},
    "gat": {"rounds": 2, "encoder": "gat", "pooling": "scores"},
    "mean-hierarchy": {"rounds": 1, "hierarchy": True},
    "gat-hierarchy": {"rounds": 2, "encoder": "gat", "pooling": "scores", "hierarchy": True},
}
forms = pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)


def simulator_for(num_envs: int, num_tasks: int = 8, window: int = 8, num_devices: int = 3) -> TaskGraphSimulator:
    room = RandomGraphs(num_tasks=num_tasks, num_devices=num_devices)
    simulator = TaskGraphScenario(name="room", workload=room, ready_window=window).simulator(num_envs)
    simulator.reset(range(num_envs))
    return simulator


def begin(graphs: list[TaskGraph], num_tasks: int = 8, window: int = 8) -> TaskGraphSimulator:
    simulator = simulator_for(len(graphs), num_tasks, window)
    simulator.reset(range(len(graphs)), graphs)
    return simulator


def network_settings(rounds: int, **form: Any) -> NetworkSettings:
    return NetworkSettings(hidden=16, rounds=rounds, **form)


def scorer(rounds: int = 2, schema: ObservationSchema = SCHEMA, **form: Any) -> CandidateScorer:
    """A network whose scores differ by much more than rounding: it begins with near-equal ones."""
    torch.manual_seed(1)
    network = CandidateScorer(schema, network_settings(rounds, **form))
    torch.nn.init.normal_(network.heads.weight)
    return network


def tensors(observation: Arrays) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array.copy()) for name, array in observation.items()}


def run(network: CandidateScorer, observation: Arrays) -> tuple[Tensor, Tensor]:
    """Returns logits of all actions, (B, A), and values, (B,)."""
    with torch.inference_mode():
        batch = network.read(tensors(observation))
        scores, values = network(batch)
    return batch.padded(scores, observation["action_mask"].shape[1]), values


def act(simulator: TaskGraphSimulator) -> None:
    simulator.step(make_policy("random").act(simulator.observation, simulator))


def assert_close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@forms
@pytest.mark.parametrize(("num_tasks", "window"), [(8, 8), (30, 20)])
def test_neighbours_and_padding_do_not_matter(form: dict[str, Any], num_tasks: int, window: int) -> None:
    """A graph alone scores as between others, and in a scenario with room for more tasks and candidates."""
    network, batch = scorer(**form), begin(GRAPHS, num_tasks, window)
    alone = [begin([graph]) for graph in GRAPHS]
    # The random policy's choices depend on the seed.
    for row, simulator in enumerate(alone):
        simulator.reset([row], [GRAPHS[row]])
    for _ in range(9):
        logits, values = run(network, batch.observation)
        for row, simulator in enumerate(alone):
            own_logits, own_values = run(network, simulator.observation)
            shown = own_logits.shape[1]
            assert_close(logits[row, :shown], own_logits[0])
            assert (logits[row, shown:] < -1e7).all()
            assert_close(values[row], own_values[0])
            act(simulator)
        act(batch)


@forms
def test_order_of_candidates_does_not_matter(form: dict[str, Any]) -> None:
    network, simulator = scorer(**form), simulator_for(4)
    for _ in range(3):
        act(simulator)
    observation = simulator.observation
    order = np.random.default_rng(0).permutation(simulator.num_candidates)
    by_candidate = ("candidates", "action_mask", "candidate_nodes")
    permuted = {name: array[:, order] if name in by_candidate else array for name, array in observation.items()}
    logits, values = run(network, observation)
    permuted_logits, permuted_values = run(network, permuted)
    assert_close(permuted_logits, logits[:, order])
    assert_close(permuted_values, values)
    assert logits[observation["action_mask"] == 1].std() > 0.01


@forms
def test_order_of_nodes_does_not_matter(form: dict[str, Any]) -> None:
    network, simulator = scorer(**form), simulator_for(1)
    for _ in range(3):
        act(simulator)
    observation = simulator.observation
    num_nodes = int(observation["counts"][0, 0])
    order = np.random.default_rng(0).permutation(num_nodes)
    # The last place is that of no node.
    place = np.append(np.argsort(order), num_nodes)
    renamed = {
        "nodes": observation["nodes"][:, order],
        "node_jobs": observation["node_jobs"][:, order],
        "edges": place[observation["edges"]],
        "candidate_nodes": place[observation["candidate_nodes"]],
    }
    assert_close(run(network, observation | renamed)[0], run(network, observation)[0])


def changed(observation: Arrays, **arrays: Any) -> Arrays:
    return observation | {name: np.broadcast_to(array, observation[name].shape) for name, array in arrays.items()}


@pytest.mark.parametrize("pooling", ["value", "scores"])
def test_ablation_ignores_the_graph(pooling: str) -> None:
    observation = simulator_for(2).observation
    without = changed(observation, nodes=np.float32(7), edges=np.int32(0), edge_features=np.float32(7))
    for rounds in (0, 1):
        network = scorer(rounds, pooling=pooling)
        shown, ablated = (run(network, seen)[0] for seen in (observation, without))
        assert torch.equal(shown, ablated) == torch.allclose(shown, ablated) == (rounds == 0)
        assert (network.encoder is None) == (rounds == 0)


def test_settled_and_absent_nodes_are_left_out() -> None:
    network, simulator = scorer(), begin([GRAPHS[2]])
    for _ in range(2):
        act(simulator)
    observation = simulator.observation
    left_out = observation["nodes"][:, :, SETTLED] == 1
    assert left_out.sum() == 2
    left_out[:, NUM_DEVICES + GRAPHS[2].num_tasks :] = True
    for spoilt in (left_out, ~left_out):
        nodes = np.where(spoilt[:, :, None] & (np.arange(len(SCHEMA.nodes)) != SETTLED), 5, observation["nodes"])
        logits = run(network, observation | {"nodes": nodes})[0]
        assert torch.equal(logits, run(network, observation)[0]) == (spoilt is left_out)


@rounds
def test_edges_count_both_ways(rounds: int) -> None:
    """With at least one round, a ready task's score depends on what follows it, and not on direction alone."""
    network, observation = scorer(rounds), begin([GRAPHS[0]]).observation
    scores = run(network, observation)[0]
    backwards = run(network, observation | {"edges": observation["edges"][:, ::-1].copy()})[0]
    none = run(network, observation | {"counts": observation["counts"] * np.array([1, 0], np.int32)})[0]
    assert torch.allclose(scores, none) == (rounds == 0)
    assert torch.allclose(scores, backwards) == (rounds == 0)


def test_masked_candidates_have_no_probability() -> None:
    network, simulator = scorer(), simulator_for(4)
    for _ in range(9):
        mask = torch.from_numpy(simulator.observation["action_mask"] == 1)
        logits, values = run(network, simulator.observation)
        assert (logits[~mask] < -1e7).all()
        assert logits[mask].abs().max() < 100
        assert values.isfinite().all()
        probability = logits.softmax(dim=1)
        assert not probability[~mask].any()
        assert_close(probability.sum(dim=1), torch.ones(4))
        assert mask.gather(1, torch.from_numpy(greedy(network, simulator.observation))[:, None]).all()
        act(simulator)
    assert simulator.outcome["terminated"].all()
    assert probability[:, 0].tolist() == [1.0] * 4


def test_one_allowed_candidate_has_probability_one() -> None:
    observation = simulator_for(1).observation
    mask = np.zeros_like(observation["action_mask"])
    mask[0, 2] = 1
    assert run(scorer(), observation | {"action_mask": mask})[0].softmax(dim=1)[0, 2] == 1.0


@pytest.mark.parametrize(("num_tasks", "num_devices", "window"), [(1, 1, 1), (40, 2, 5), (12, 7, 12)])
def test_one_network_serves_all_sizes(num_tasks: int, num_devices: int, window: int) -> None:
    simulator = simulator_for(3, num_tasks, window, num_devices)
    network = scorer()
    while not simulator.outcome["terminated"].all():
        simulator.step(greedy(network, simulator.observation))
        assert not simulator.outcome["invalid_action"].any()
    assert [len(simulator.episode(row)) for row in range(3)] == [num_tasks] * 3


@forms
def test_every_parameter_is_trained(form: dict[str, Any]) -> None:
    network, simulator = scorer(**form), simulator_for(4)
    for _ in range(3):
        act(simulator)
    batch = network.read(tensors(simulator.observation))
    scores, values = network(batch)
    (scores.softmax(dim=0)[1] + values.sum()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        # A bias that is the same for all candidates changes nothing.
        assert (parameter.grad.abs() > 1e-9).any() or name == "heads.bias", name
    assert network.heads.weight.grad is not None
    assert (network.heads.weight.grad.abs().amax(dim=1) > 1e-9).all()


def graph_read(observation: Arrays, row: int, rounds: int) -> tuple[Any, ...]:
    """What `CandidateScorer.read` should keep of one situation's graph, in plain Python.

    Returns features and distances of the nodes in order, the edges (as positions) with their features, and the
    candidates' nodes as positions.
    """
    num_nodes, num_edges = observation["counts"][row]
    live = [node for node in range(num_nodes) if not observation["nodes"][row, node, SETTLED]]
    shown = zip(observation["edges"][row].T.tolist(), observation["edge_features"][row].tolist(), strict=True)
    features = {tuple(edge): number for (edge, number), _ in zip(shown, range(num_edges), strict=False)}
    edges = [edge for edge in features if edge[0] in live and edge[1] in live]
    spoken_of = observation["candidate_nodes"][row][observation["action_mask"][row] == 1].tolist()
    away = {node: 0 for nodes in spoken_of for node in nodes if node in live}
    for distance in range(1, rounds + 1):
        heard = [node for edge in edges for node in edge if edge[0] in away or edge[1] in away]
        away |= {node: distance for node in heard if node not in away}
    order = sorted(away)
    near = [edge for edge in edges if min(away.get(node, rounds) for node in edge) < rounds]
    return (
        [observation["nodes"][row, node].tolist() for node in order],
        [away[node] for node in order],
        sorted(([order.index(node) for node in edge], features[edge]) for edge in near),
        [[order.index(node) if node in order else ABSENT for node in nodes] for nodes in spoken_of],
    )


@pytest.mark.parametrize("rounds", [1, 2])
def test_reading_leaves_out_padding_and_what_is_far(rounds: int) -> None:
    network, simulator = scorer(rounds), simulator_for(5, num_tasks=40, window=6)
    kept = set()
    for _ in range(30):
        observation = simulator.observation
        batch = network.read(tensors(observation))
        assert torch.equal(batch.context, torch.from_numpy(observation["context"]))
        for row in range(5):
            one = batch.select(torch.tensor([row]))
            assert one.action.tolist() == np.flatnonzero(observation["action_mask"][row]).tolist()
            assert one.candidates.tolist() == observation["candidates"][row][one.action].tolist()
            graphs = one.graphs
            assert graphs is not None
            assert (graphs.num_nodes.item(), graphs.num_edges.item()) == (len(graphs.nodes), graphs.edges.shape[1])
            read = (graphs.nodes, graphs.away, graphs.edges.T, graphs.edge_features, graphs.spoken_of)
            nodes, away, ends, features, spoken_of = (array.tolist() for array in read)
            edges = sorted(zip(ends, features, strict=True))
            assert (nodes, away, edges, spoken_of) == graph_read(observation, row, rounds)
            kept.add(len(nodes) < (observation["nodes"][row, : observation["counts"][row, 0], SETTLED] == 0).sum())
        act(simulator)
    assert kept == {True, False}


@pytest.mark.parametrize("rounds", [1, 2])
def test_what_is_far_does_not_matter(rounds: int) -> None:
    """A network that is shown the whole graph scores alike."""
    network, simulator = scorer(rounds), simulator_for(5, num_tasks=40, window=6)
    whole = replace(network_settings(rounds), rounds=40)
    for _ in range(12):
        act(simulator)
    observation = tensors(simulator.observation)
    near, far = network.read(observation), CandidateBatch.of(observation, SCHEMA, whole)
    assert near.graphs is not None
    assert far.graphs is not None
    assert len(near.graphs.nodes) < len(far.graphs.nodes)
    # All nodes of the whole graph are computed in all rounds.
    everything = replace(far, graphs=replace(far.graphs, away=torch.zeros_like(far.graphs.away)))
    with torch.inference_mode():
        for one, other in zip(network(near), network(everything), strict=True):
            assert_close(one, other)


@forms
def test_batches_are_taken_apart_and_put_together(form: dict[str, Any]) -> None:
    network, simulator = scorer(**form), simulator_for(6)
    parts = []
    for _ in range(5):
        parts.append(network.read(tensors(simulator.observation)))
        act(simulator)
    together = CandidateBatch.concatenate(parts)
    order = torch.from_numpy(np.random.default_rng(0).permutation(30))
    with torch.inference_mode():
        values = torch.cat([network(part)[1] for part in parts])
        scores = torch.cat([part.padded(network(part)[0], simulator.num_candidates) for part in parts])
        for batch, rows in ((together, torch.arange(30)), (together.select(order), order)):
            assert_close(network(batch)[1], values[rows])
            assert_close(batch.padded(network(batch)[0], simulator.num_candidates), scores[rows])


def test_distribution_is_the_softmax_of_each_situation() -> None:
    network, simulator = scorer(), simulator_for(4)
    act(simulator)
    batch = network.read(tensors(simulator.observation))
    scores = 3 * torch.randn(len(batch.action), generator=torch.Generator().manual_seed(0))
    expected = torch.distributions.Categorical(logits=batch.padded(scores, simulator.num_candidates))
    distribution = CandidateCategorical(scores, batch)
    assert_close(distribution.log_probability, expected.logits[batch.situation, batch.action])
    assert_close(distribution.entropy(), expected.entropy())  # type: ignore[no-untyped-call]
    assert batch.action[distribution.mode()].tolist() == expected.mode.tolist()
    torch.manual_seed(0)
    drawn = torch.stack([distribution.sample() for _ in range(4000)])
    assert (batch.situation[drawn] == torch.arange(4)).all()
    frequency = torch.bincount(drawn.flatten(), minlength=len(scores)) / 4000
    # Five standard errors of the commonest.
    torch.testing.assert_close(frequency, distribution.log_probability.exp(), rtol=0, atol=5 * (0.25 / 4000) ** 0.5)


def test_mode_is_the_first_of_equals() -> None:
    batch = scorer().read(tensors(simulator_for(3).observation))
    equal = CandidateCategorical(torch.zeros(len(batch.action)), batch)
    assert equal.mode().tolist() == (batch.num_candidates.cumsum(0) - batch.num_candidates).tolist()


def test_ppo_reads_the_network() -> None:
    """Actions, log-probabilities, entropies and values are those of the logits, also under a narrower mask."""
    simulator = simulator_for(64)
    act(simulator)
    space, actions = simulator.single_observation_space, spaces.Discrete(simulator.num_candidates)
    policy = CandidatePolicy(space, actions, lambda _: 1e-3, SCHEMA, NetworkSettings(hidden=16, rounds=1))
    torch.nn.init.normal_(policy.scorer.heads.weight)
    observation = tensors(simulator.observation)
    masks = simulator.observation["action_mask"] == 1
    for narrower in (masks, masks & (np.arange(masks.shape[1]) % 2 == 0)):
        narrowed = simulator.observation | {"action_mask": narrower.astype(np.int8)}
        logits, values = run(policy.scorer, narrowed)
        logged = logits.log_softmax(dim=1)
        best, _, _ = policy(observation, deterministic=True, action_masks=narrower)
        assert best.tolist() == logged.argmax(dim=1).tolist()
        taken, taken_values, log_probability = policy(observation, action_masks=narrower)
        assert narrower[np.arange(64), taken.numpy()].all()
        assert_close(log_probability, logged.gather(1, taken[:, None])[:, 0])
        again, again_log_probability, entropy = policy.evaluate_actions(observation, taken, narrower)
        assert_close(again_log_probability, log_probability)
        assert entropy is not None
        assert_close(entropy, -(logged.exp() * logged).sum(dim=1))
        assert_close(policy.get_distribution(observation, narrower).log_prob(taken), log_probability)
        for shown in (taken_values, again, policy.predict_values(tensors(narrowed))):
            assert_close(shown, values)


def card(**changes: Any) -> Card:
    fields: dict[str, Any] = {
        "algorithm": "ppo",
        "family": "task-graph",
        "scenario": {"name": "room"},
        "seed": 3,
        "steps": 100,
        "command": "hetgym train",
        "versions": package_versions(),
        "network": NetworkSettings(hidden=16, rounds=2),
        "features": SCHEMA.names(),
        "results": {"return": -0.5},
    }
    return Card(**fields | changes)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "best", card(), scorer().state_dict())
    return tmp_path / "best"


def test_checkpoint_keeps_the_network(checkpoint: Path) -> None:
    observation = simulator_for(2).observation
    loaded = load_network(checkpoint, SCHEMA)
    assert not loaded.training
    for one, other in zip(run(loaded, observation), run(scorer(), observation), strict=True):
        assert torch.equal(one, other)
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["best"]
    assert sorted(path.name for path in checkpoint.iterdir()) == [CARD, POLICY]


@forms
def test_checkpoint_keeps_the_form(tmp_path: Path, form: dict[str, Any]) -> None:
    network, observation = scorer(**form), simulator_for(2).observation
    save_checkpoint(tmp_path / "best", card(network=network_settings(**form)), network.state_dict())
    loaded = load_network(tmp_path / "best", SCHEMA)
    assert torch.equal(run(loaded, observation)[0], run(network, observation)[0])


def test_checkpoint_is_replaced_whole(checkpoint: Path) -> None:
    (checkpoint / "leftover").touch()
    network = scorer(0, pooling="value")
    save_checkpoint(checkpoint, card(network=network_settings(0, pooling="value")), network.state_dict())
    assert load_network(checkpoint, SCHEMA).encoder is None
    assert sorted(path.name for path in checkpoint.parent.iterdir()) == ["best"]
    assert sorted(path.name for path in checkpoint.iterdir()) == [CARD, POLICY]


def test_checkpoint_that_is_being_replaced_is_found(checkpoint: Path) -> None:
    """A process killed between the two renames leaves the previous checkpoint under another name."""
    checkpoint.rename(checkpoint.with_name(f".{checkpoint.name}.previous"))
    assert make_policy(f"ppo:{checkpoint}").name == f"ppo:{checkpoint}"


@pytest.mark.parametrize("folder", ["best", ""])
def test_checkpoint_is_a_policy(checkpoint: Path, folder: str) -> None:
    """By its own path, or by that of the run's folder."""
    policy = make_policy(f"ppo:{checkpoint.parent / folder}")
    simulator, twin = simulator_for(3), simulator_for(3)
    play(simulator, policy, range(3))
    while not twin.outcome["terminated"].all():
        twin.step(greedy(scorer(), twin.observation))
    assert [simulator.schedule(row).start.tolist() for row in range(3)] == [
        twin.schedule(row).start.tolist() for row in range(3)
    ]


def play_out(policy: Policy, simulator: TaskGraphSimulator) -> list[list[int]]:
    """Returns the actions of each episode."""
    policy.reset(simulator)
    actions = []
    while not simulator.outcome["terminated"].all():
        actions.append(policy.act(simulator.observation, simulator))
        simulator.step(actions[-1])
        assert not simulator.outcome["invalid_action"].any()
    return np.transpose(actions).tolist()  # type: ignore[no-any-return]


def test_sampling_policy_draws_the_same_whatever_the_batch(checkpoint: Path) -> None:
    policy = LearnedPolicy("learned", checkpoint, sample=True)
    together = play_out(policy, simulator_for(4))
    assert together == play_out(policy, simulator_for(4))
    for row in range(4):
        alone = simulator_for(1)
        alone.reset([row])
        assert play_out(policy, alone) == [together[row]]
    assert together != play_out(LearnedPolicy("learned", checkpoint), simulator_for(4))


def test_sampling_policy_draws_from_the_distribution(checkpoint: Path) -> None:
    """The same instance under many seeds; what is drawn differs between seeds and between decisions."""
    simulator = simulator_for(4000)
    simulator.reset(range(4000), [GRAPHS[0]] * 4000)
    policy = LearnedPolicy("learned", checkpoint, sample=True)
    policy.reset(simulator)
    probability = (run(scorer(), simulator.observation)[0][0] / TEMPERATURE).softmax(dim=0)
    assert 0.1 < probability.max() < 0.9
    drawn = torch.from_numpy(policy.act(simulator.observation, simulator))
    frequency = torch.bincount(drawn, minlength=len(probability)) / 4000
    torch.testing.assert_close(frequency, probability, rtol=0, atol=5 * (0.25 / 4000) ** 0.5)


def test_best_of_draws_from_the_network(checkpoint: Path) -> None:
    policy = make_policy(f"best-of-8:ppo:{checkpoint}")
    assert policy.name == f"best-of-8:ppo:{checkpoint}"
    makespans = {}
    for one in (policy, make_policy(f"best-of-1:ppo:{checkpoint}")):
        table = play(simulator_for(10), one, range(10))
        makespans[one.name] = table["makespan"].to_numpy()
    best_of_8, drawn_once = makespans.values()
    assert (best_of_8 <= drawn_once).all()
    assert (best_of_8 < drawn_once).any()


def cut(file: str, keep: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        content = (folder / file).read_bytes()
        (folder / file).write_bytes(content[: int(len(content) * keep)])

    return damage


def with_card(**changes: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        save_checkpoint(folder, card(**changes), scorer().state_dict())

    return damage


def with_text(old: str, new: str) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        text = (folder / CARD).read_text(encoding="utf-8")
        assert old in text
        (folder / CARD).write_text(text.replace(old, new), encoding="utf-8")

    return damage


def with_tensor(name: str, number: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        save_checkpoint(folder, card(), scorer().state_dict() | {name: torch.full((1, 16), number)})

    return damage


OTHER_FEATURES = SCHEMA.names() | {"context": ["progress", "weather"]}

DAMAGES = {
    "other features": (with_card(features=OTHER_FEATURES), rf"{CARD}: features: .*weather.*train anew"),
    "no features": (with_card(features={}), rf"{CARD}: features"),
    "features in another order": (
        with_card(features={name: names[::-1] for name, names in SCHEMA.names().items()}),
        rf"{CARD}: features",
    ),
    "other network": (with_card(network=NetworkSettings(8, 2)), rf"{POLICY}: does not fit the network of its card"),
    "fewer rounds": (with_card(network=NetworkSettings(16, 1)), rf"{POLICY}: does not fit the network of its card"),
    "cut tensors": (cut(POLICY, 0.5), rf"{POLICY}: cannot read these tensors"),
    "empty tensors": (cut(POLICY, 0), rf"{POLICY}: cannot read these tensors"),
    "no tensors": (lambda folder: (folder / POLICY).unlink(), rf"{POLICY}: cannot read these tensors"),
    "NaN": (with_tensor("heads.weight", torch.nan), rf"{POLICY}: .*not finite"),
    "cut card": (cut(CARD, 0.5), rf"{CARD}: not valid JSON"),
    "empty card": (cut(CARD, 0), rf"{CARD}: not valid JSON"),
    "list for a card": (lambda folder: (folder / CARD).write_text("[]"), rf"{CARD}: "),
    "binary card": (lambda folder: (folder / CARD).write_bytes(b"\xff\xfe\x00"), rf"{CARD}: .*UTF-8"),
    "other format": (with_text('"format": 1', '"format": 2'), rf"{CARD}: format: .*1"),
    "unknown key": (with_text('"seed": 3', '"seed": 3, "sead": 4'), rf"{CARD}: sead"),
    "missing key": (with_text('"seed": 3,', ""), rf"{CARD}: seed"),
    "negative width": (with_text('"hidden": 16', '"hidden": -16'), rf"{CARD}: network.hidden"),
    "unknown encoder": (with_text('"mean"', '"median"'), rf"{CARD}: network.encoder"),
    "other encoder": (with_text('"mean"', '"gat"'), rf"{POLICY}: does not fit the network of its card"),
    "hierarchy": (with_text('"hierarchy": false', '"hierarchy": true'), rf"{POLICY}: does not fit the network"),
    "negative rounds": (with_text('"rounds": 2', '"rounds": -1'), rf"{CARD}: network.rounds"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_bad_checkpoint_is_refused_in_one_line(checkpoint: Path, damage: str) -> None:
    spoil, message = DAMAGES[damage]
    spoil(checkpoint)
    with pytest.raises(HetgymError, match=message) as error:
        load_network(checkpoint, SCHEMA)
    assert "\n" not in str(error.value)
    assert str(checkpoint) in str(error.value)


@pytest.mark.parametrize("path", ["nowhere", "empty"])
def test_missing_checkpoint_is_refused_in_one_line(tmp_path: Path, path: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(HetgymError, match=rf"{path}: no checkpoint here") as error:
        make_policy(f"ppo:{tmp_path / path}")
    assert "\n" not in str(error.value)
