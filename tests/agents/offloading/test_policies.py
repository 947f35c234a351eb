"""Rules of thumb for offloading against what they are said to do, decision by decision."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hetgym import HetgymError
from hetgym.agents.heuristics.offloading.policy import SEARCHES, OffloadPolicy, named_policies
from hetgym.agents.heuristics.offloading.rules import RULES
from hetgym.agents.policy import Policy
from hetgym.compilation import kernel
from hetgym.envs import load_scenario
from hetgym.envs.offloading.luck import PLACEMENT, Luck
from hetgym.envs.offloading.rules import Rules
from hetgym.envs.offloading.simulator import OffloadSimulator, Source
from hetgym.hardware_models import load_platform
from hetgym.workloads import BOTTLEFIT, network_profile, split_costs, with_bottleneck
from hetgym.workloads.arrivals import PoissonArrivals
from hetgym.workloads.counter_random import random_integer, random_stream
from hetgym.workloads.requests import LAWS, REQUEST_KIND

_path = Path(__file__).parents[2] / "envs" / "offloading" / "small_offloads.py"
_spec = importlib.util.spec_from_file_location("small_offloads", _path)
small_offloads = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small_offloads)
drawn_instance, small_instance = small_offloads.drawn_instance, small_offloads.small_instance

EPISODES = 60


def simulator(instance, num_envs=1, cloud=(), **rules):
    """Environments for given instances; on their own they draw requests of random sizes, one every 0.2 s."""
    kinds = np.zeros(instance.options.shape[1], REQUEST_KIND)
    kinds["share"] = np.arange(1, len(kinds) + 1) / len(kinds)
    for name, mean in (("size", 1.0), ("work", 1.0), ("deadline", 4.0)):
        kinds[name]["law"], kinds[name]["mean"], kinds[name]["high"] = LAWS.index("exponential"), mean, 100.0
    users, servers, accesses = len(instance.users), len(instance.servers), len(instance.accesses)
    placements = np.zeros(accesses, PLACEMENT)
    source = Source(
        template=replace(instance, requests=instance.requests[:0]),
        luck=Luck(np.tile([0.5, 2.0], (users, 1)), np.tile([0.5, 2.0], (servers, 1)), placements, np.zeros(1)),
        process=PoissonArrivals(mean_interarrival=0.2).law(None),
        recorded_times=np.empty(0),
        kinds=kinds,
        recorded=np.zeros((1, 1)),
        cloud=np.isin(np.arange(len(instance.targets)), cloud),
    )
    made = OffloadSimulator(source, Rules(**rules), num_envs)
    made.observes = False
    return made


class Seen:
    """What a rule sees at a decision: forecasts of all options that exist, (target, option) each, and who waits."""

    def __init__(self, played, instance, queues):
        self.instance, self.queues = instance, queues
        state = played.state
        self.status, self.request = state.status[0], state.request[0]
        self.user = int(self.request["user"])
        options = instance.options.shape[3]
        names = [(0, 0)] + [(1 + i // options, i % options) for i in range(options * len(instance.targets))]
        self.forecasts = {name: f for name, f in zip(names, state.forecasts[0], strict=True) if f["exists"]}
        self.row = {name: row for row, name in enumerate(names)}
        self.cloud = played.source.cloud
        self.on_way = state.server_state[0]["num_on_way"]
        self.processor = max(float(state.user_state[0]["processor_free"][self.user] - self.status["now"]), 0.0)

    @property
    def firsts(self):
        """The first option of each open target."""
        return list({target: (target, option) for target, option in reversed(self.forecasts)}.values())[::-1]

    def remote(self, name):
        return name[0] > 0

    def rate(self, name):
        return float(self.forecasts[name]["rate"]) if self.remote(name) else math.inf

    def server(self, name):
        return int(self.instance.targets["server"][name[0] - 1])

    def least(self, key, names=None):
        """The first name of least key."""
        return min(self.forecasts if names is None else names, key=key)

    def among(self, names):
        """Where the rate is highest among names; the first of all, if there are none."""
        return min(names, key=lambda name: -self.rate(name)) if names else next(iter(self.forecasts))

    def queue(self, name):
        length = self.on_way[self.server(name)] if self.remote(name) else int(self.processor > 0)
        return length, -self.rate(name)

    def option(self, name):
        device = self.instance.users["device"][self.user]
        return self.instance.options[device, self.request["kind"]][name]


@kernel
def _two_places(seed: int, episode: int, request: int, count: int, places: np.ndarray) -> None:
    stream = random_stream(seed, episode, 1_002)
    places[0] = random_integer(stream, 2 * request, count)
    places[1] = random_integer(stream, 2 * request + 1, max(count - 1, 1))


def all_there(in_cloud):
    return lambda seen: seen.among([n for n in seen.firsts if seen.remote(n) and seen.cloud[n[0] - 1] == in_cloud])


def power_of_two(seen):
    places = np.zeros(2, np.int64)
    status, names = seen.status, seen.firsts
    _two_places(status["seed"], status["episode"], status["decided"], len(names), places)
    one = names.pop(places[0])
    return min(sorted([one, *names[places[1] : places[1] + 1]]), key=seen.queue)


def threshold(seen):
    slow = (0, 0) not in seen.forecasts or seen.forecasts[0, 0]["delay"] > 0.8 * seen.instance.units[0]
    remote = [name for name in seen.firsts if seen.remote(name)]
    fast = [name for name in remote if seen.rate(name) >= 0.7]
    if (0, 0) in seen.forecasts and not (slow and fast):
        return 0, 0
    return seen.among(remote)


def lyapunov(seen, penalty=2.0, budget=0.4):
    unit, queue = seen.instance.units, seen.queues[seen.user]

    def key(name):
        f = seen.forecasts[name]
        return penalty * (f["delay"] + f["imposed"]) / unit[0] + queue * f["energy"] / unit[1]

    chosen = seen.least(key)
    if budget is None:
        budget = sum(f["energy"] for f in seen.forecasts.values()) / len(seen.forecasts)
    seen.queues[seen.user] = max(queue + (seen.forecasts[chosen]["energy"] - budget) / unit[1], 0.0)
    return chosen


def neurosurgeon(seen, power=None):
    """From polynomials, by their definition; a power makes energy of a time."""
    size, work = seen.request["size"], seen.request["work"]
    user = seen.instance.users[seen.user]

    def key(name):
        asked = seen.option(name)
        local, serial, shared = (asked[unit] @ [1, size, size**2, work] for unit in ("local", "serial", "shared"))
        up = asked["up"] @ [1, size, work] / seen.rate(name) if seen.remote(name) else 0.0
        if power:
            return local * user["energy"] + up * user["power"]
        there = 0.0
        if seen.remote(name):
            server = seen.instance.servers[seen.server(name)]
            there = serial / server["speed"] + shared * (server["fixed"] + server["per_job"])
        return local / user["speed"] + up + there

    return seen.least(lambda name: round(key(name), 12))


PLAIN = {
    "all-local": lambda seen: next(iter(seen.forecasts)),
    "all-edge": all_there(in_cloud=False),
    "all-cloud": all_there(in_cloud=True),
    "round-robin": lambda seen: seen.firsts[seen.status["decided"] % len(seen.firsts)],
    "least-work": lambda seen: seen.least(
        lambda name: seen.forecasts[name]["backlog"] if seen.remote(name) else seen.processor, seen.firsts
    ),
    "jsq": lambda seen: seen.least(seen.queue, seen.firsts),
    "power-of-two": power_of_two,
    "threshold": threshold,
    "greedy-delay": lambda seen: seen.least(lambda name: seen.forecasts[name]["delay"]),
    "greedy-energy": lambda seen: seen.least(lambda name: seen.forecasts[name]["energy"]),
    "greedy-social": lambda seen: seen.least(lambda name: sum(seen.forecasts[name][["delay", "imposed"]].item())),
    "weighted-greedy": lambda seen: seen.least(lambda name: seen.forecasts[name]["cost"]),
    "weighted-selfish": lambda seen: seen.least(
        lambda name: (
            seen.forecasts[name]["cost"]
            - seen.instance.weights[0] * seen.forecasts[name]["imposed"] / seen.instance.units[0]
        )
    ),
    "lyapunov": lyapunov,
    "neurosurgeon": neurosurgeon,
    "neurosurgeon-energy": lambda seen: neurosurgeon(seen, power=True),
}
SETTINGS = {"threshold": {"delay": 0.8, "rate": 0.7}, "lyapunov": {"penalty": 2.0, "budget": 0.4}}


def thinned(instance, seed):
    """The same instance with half of its options, but at least one of those of each device and kind."""
    luck = np.random.default_rng(seed)
    options = instance.options.copy()
    for each in options.reshape(-1, *options.shape[2:]):
        stays = each["exists"] & (luck.random(each.shape) < 0.5)
        each["exists"] = stays if stays.any() else each["exists"]
    return replace(instance, options=options)


def check(policy, plain, episodes):
    """Plays random instances, and compares all decisions; returns the rows that were chosen."""
    chosen = []
    for seed in range(episodes):
        instance = drawn_instance(seed, gap=0.2)
        if seed % 3 == 0:
            instance = thinned(instance, seed)
        targets = len(instance.targets)
        played = simulator(instance, cloud=(targets - 1,) if targets > 1 else (), room=(3, 100)[seed % 2])
        played.reset([seed], [instance])
        policy.reset(played)
        queues = [0.0] * len(instance.users)
        while not played.outcome["terminated"][0]:
            seen = Seen(played, instance, queues)
            expected = seen.row[plain(seen)]
            actions = policy.act(played.observation, played)
            assert actions.dtype == np.int64
            assert actions.tolist() == [expected], (seed, seen.status)
            chosen.append(expected)
            played.step(actions)
            assert not played.outcome["invalid_action"][0]
    return chosen


@pytest.mark.parametrize("name", PLAIN)
def test_a_rule_does_what_it_is_said_to_do(name):
    policy = named_policies()[name](**SETTINGS.get(name, {}))
    chosen = check(policy, PLAIN[name], EPISODES)
    assert len(set(chosen)) > 2


def test_by_default_the_budget_is_what_options_take_on_average():
    policy = named_policies()["lyapunov"]()
    check(policy, lambda seen: lyapunov(seen, penalty=1.0, budget=None), EPISODES)


def test_names():
    makers = {name: maker for name, maker in named_policies().items() if name not in SEARCHES}
    assert set(makers) == set(RULES) == set(PLAIN)
    for name, maker in makers.items():
        policy = maker()
        assert isinstance(policy, Policy)
        assert policy.name == name
        assert not policy.clairvoyant
        assert policy.conditioned == name.startswith("weighted")
        assert len(maker.__doc__.splitlines()[0]) <= 120


def decide(policy, instance, cloud=()):
    """The rows that a policy chooses in one episode."""
    played = simulator(instance, cloud=cloud)
    played.reset([0], [instance])
    policy.reset(played)
    rows = []
    while not played.outcome["terminated"][0]:
        rows += policy.act(played.observation, played).tolist()
        played.step(np.array(rows[-1:]))
    return rows


NOTHING = {"exists": False}


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        # Target 0 does not exist, target 1 has its second option alone (row 2), targets 2 and 3 both (rows 3 to 6).
        ("all-local", [2] * 4),
        ("all-edge", [3] * 4),  # 2 bit/s there, 1 to target 1
        ("all-cloud", [5] * 4),
        ("round-robin", [2, 3, 5, 2]),
        ("jsq", [5, 3, 2, 5]),  # the highest rate first: 3, 2 and 1 bit/s
        ("least-work", [2, 3, 5, 2]),
        # Sending takes 6, 3 and 2 s, serving 1 s: 7, 4 and 3 s, whoever else is there.
        ("neurosurgeon", [5] * 4),
        # 7, 4, 3 s; behind a radio that is taken until 2 s, and 1 s longer where a request is that counts as not begun:
        # 9, 6, 2 + 2 + 1 + 1 = 6 s; until 5 s: 12, 10, 9 s; until 7 s, with two at the last one: 14, 12, 12 s.
        ("greedy-delay", [5, 3, 5, 3]),
        ("threshold", [5] * 4),
    ],
)
def test_by_hand_with_options_that_do_not_exist(name, rows):
    option = {"shared": 1.0, "up": 6.0}
    instance = small_instance(
        requests=[{}] * 4,
        options=[[NOTHING], [NOTHING, option], [option, option], [option, option]],
        servers=[{}] * 3,
        accesses=[{"is_radio": True, "bandwidth": bandwidth} for bandwidth in (1.0, 2.0, 3.0)],
        targets=[{"access": number, "server": number} for number in range(3)],
        gain=[[1.0, 2.0, 3.0]],  # with noise of W x 1 W/Hz a signal-to-noise ratio of 1
    )
    assert decide(named_policies()[name](), instance, cloud=(2,)) == rows


def test_the_own_device_counts_in_queues():
    # The own device is idle, then taken for 2 s, 4 s, ...; the server has one request, then two on their way.
    instance = small_instance(
        requests=[{}] * 5, options=[[{"local": 2.0}], [{"shared": 3.0}]], accesses=[{"bandwidth": 1.0}]
    )
    # Queues of the own device and the server: (0, 0), (1, 0), (1, 1), (1, 1), (1, 1); the own device needs no rate.
    assert decide(named_policies()["jsq"](), instance) == [0, 1, 0, 0, 0]
    # Seconds: (0, 0), (2, 0), (2, 3), (4, 3), (4, 6).
    assert decide(named_policies()["least-work"](), instance) == [0, 1, 0, 1, 0]
    # Up to two delay units: 2, then 4, 4, ... s.
    assert decide(named_policies()["threshold"](delay=2.0), instance) == [0, 1, 1, 1, 1]
    assert decide(named_policies()["threshold"](delay=4.0), instance) == [0, 0, 1, 1, 1]
    assert decide(named_policies()["threshold"](delay=4.0, rate=2.0), instance) == [0] * 5


def test_the_virtual_queue_by_hand():
    # Here 1 s and 3 J, there 2 s and 1 J, a request every 10 s, 2 J each on average.
    # Y is 0, 1 (1 + 3 > 2 + 1), 0, 1.
    instance = small_instance(
        requests=[{"arrival": 10.0 * number} for number in range(4)],
        options=[[{"local": 1.0}], [{"shared": 2.0}]],
        users=[{"energy": 3.0}],
        servers=[{"energy": 0.5}],
    )
    assert decide(named_policies()["lyapunov"](), instance) == [0, 1, 0, 1]
    assert decide(named_policies()["lyapunov"](budget=2.0), instance) == [0, 1, 0, 1]
    # It grows by 3 J, then 1 J each: it is never empty.
    assert decide(named_policies()["lyapunov"](budget=0.0), instance) == [0, 1, 1, 1]
    # With 4 J for the delay: Y is 0, 1, 2 (4 + 6 < 8 + 2), 3 (4 + 9 > 8 + 3).
    assert decide(named_policies()["lyapunov"](penalty=4.0), instance) == [0, 0, 0, 1]


PROFILES = {name: network_profile(name) for name in ("mobilenet-v2", "resnet50", "vgg16")}
PROFILES |= {
    f"{name}-bottleneck": with_bottleneck(PROFILES[name], cut, **BOTTLEFIT)
    for name, cut in (("mobilenet-v2", "block2"), ("resnet50", "layer1.0"), ("vgg16", "pool2"))
}
BANDWIDTHS = np.geomspace(0.1e6, 1000e6, 40)


def device_of(platform, name):
    return next(device for device in load_platform(platform).devices if device.name == name)


@pytest.mark.parametrize("unit", ["serial", "shared"])
@pytest.mark.parametrize("device", ["jetson-orin/gpu", "raspberry-pi-4/cpu", "phone-soc/gpu"])
@pytest.mark.parametrize("network", PROFILES)
def test_neurosurgeon_finds_the_best_cut(network, device, unit):
    costs = split_costs(PROFILES[network], device_of(*device.split("/")), device_of("edge-server", "gpu"))
    here, bits, there = costs.local_seconds, 8 * costs.up_bytes, costs.remote_seconds
    cuts = [{"local": here[cut], "up": bits[cut], unit: there[cut]} for cut in range(len(here) - 1)]
    instances = [
        small_instance(
            requests=[{}],
            options=[[{"local": here[-1]}], cuts],
            users=[{"energy": 5.0, "power": 2.0}],
            accesses=[{"is_radio": False}],
            trace=[bandwidth],
        )
        for bandwidth in BANDWIDTHS
    ]
    played = simulator(instances[0], len(instances))
    played.reset([0] * len(instances), instances)
    for name, per_cut in (("neurosurgeon", here + there), ("neurosurgeon-energy", 5.0 * here)):
        watts = 2.0 if name == "neurosurgeon-energy" else 1.0
        policy = named_policies()[name]()
        policy.reset(played)
        rows = policy.act(played.observation, played)
        cut = np.where(rows == 0, len(here) - 1, rows - 1)
        cost = per_cut + watts * bits / BANDWIDTHS[:, None]
        np.testing.assert_allclose(cost[np.arange(len(cut)), cut], cost.min(axis=1), rtol=1e-12)
        # All is done here if the bandwidth is low, and the more there is, the more is sent.
        assert cut[0] == len(here) - 1
        assert (np.diff(bits[cut]) >= 0).all()
        assert bits[cut[-1]] > 0 or "jetson" in device


def play(policy, seeds, restarts=()):
    """Rows that are chosen in streams that end at a horizon, by environment and episode; some go on to a second one."""
    instance = drawn_instance(7, users=3, servers=2, targets=3, options=2, always_local=True)
    played = simulator(instance, len(seeds), cloud=(2,), horizon=4.0, draws_weights=True)
    played.reset(seeds)
    policy.reset(played)
    rows = {(seed, 0): [] for seed in seeds}
    waits = list(restarts)
    while not played.outcome["terminated"].all() or waits:
        over = [b for b in waits if played.outcome["terminated"][b]]
        if over:
            played.restart(np.array(over))
            rows |= {(seeds[b], 1): [] for b in over}
            waits = [b for b in waits if b not in over]
        going = np.flatnonzero(~played.outcome["terminated"])
        actions = policy.act(played.observation, played)
        for b in going:
            rows[seeds[b], int(played.episodes[b])].append(int(actions[b]))
        played.step(actions)
    return rows


@pytest.mark.parametrize("name", PLAIN)
def test_decisions_depend_on_the_episode_alone(name):
    maker = named_policies()[name]
    policy = maker(**SETTINGS.get(name, {}))
    seeds = [3, 4, 5, 6, 7]
    together = play(policy, seeds, restarts=(0, 2, 3))
    assert play(maker(**SETTINGS.get(name, {})), seeds, restarts=(0, 2, 3)) == together  # a twin
    assert play(policy, seeds, restarts=(0, 2, 3)) == together  # the same again
    assert len({len(rows) for rows in together.values()}) > 3
    for b, seed in enumerate(seeds):
        alone = play(policy, [seed], restarts=(0,) if b in (0, 2, 3) else ())
        assert alone == {key: rows for key, rows in together.items() if key[0] == seed}


def test_a_restarted_episode_has_empty_queues():
    # The second episode is chosen for by a policy that never saw the first.
    instance = drawn_instance(7, users=3, servers=2, targets=3, options=2, always_local=True)
    played = simulator(instance, 1, horizon=4.0)
    played.reset([3])
    played.reset_to_next()
    policy = named_policies()["lyapunov"](budget=0.1)
    policy.reset(played)
    rows = []
    while not played.outcome["terminated"][0]:
        rows += policy.act(played.observation, played).tolist()
        played.step(np.array(rows[-1:]))
    played.reset([3])
    policy.reset(played)
    while not played.outcome["terminated"][0]:
        played.step(policy.act(played.observation, played))
    played.restart(np.array([0]))
    again = []
    while len(again) < len(rows):
        again += policy.act(played.observation, played).tolist()
        played.step(np.array(again[-1:]))
    assert again == rows


def test_power_of_two_draws_all_pairs():
    instance = drawn_instance(7, targets=3, options=1, servers=3, always_local=True)
    played = simulator(instance, 600, num_requests=1)
    played.reset(np.arange(600))
    policy = named_policies()["power-of-two"]()
    policy.reset(played)
    rates = played.state.forecasts["rate"][:, 1:]
    best = np.argsort(np.column_stack([np.full(600, -np.inf), -rates]), axis=1)
    rows = policy.act(played.observation, played)
    # All queues are empty: of the six pairs three have the best target, two the second, one the third, none the last.
    counts = [(rows == best[:, place]).sum() for place in range(4)]
    assert counts[3] == 0
    np.testing.assert_allclose(np.array(counts[:3]) / 600, [1 / 2, 1 / 3, 1 / 6], atol=0.06)


@pytest.mark.parametrize(("name", "knobs"), [("all-local", [-1.0, 1.0, 1.0]), ("all-edge", [1.0, 1.0, 1.0])])
def test_whole_requests_in_the_continuous_face(name, knobs):
    instance = drawn_instance(1, always_local=True)
    played = simulator(instance, 2, continuous=True, num_requests=3)
    played.reset([0, 1])
    policy = named_policies()[name]()
    policy.reset(played)
    assert policy.act(played.observation, played).tolist() == [knobs] * 2
    while not played.outcome["terminated"].all():
        played.step(policy.act(played.observation, played))
    assert played.metrics(np.arange(2))["offloaded"].tolist() == [float(name == "all-edge")] * 2


def test_what_is_refused():
    instance = drawn_instance(1, always_local=True)
    continuous = simulator(instance, continuous=True, num_requests=3)
    with pytest.raises(HetgymError, match=r"'jsq' chooses a target"):
        named_policies()["jsq"]().reset(continuous)
    with pytest.raises(HetgymError, match=r"'jsq'.*family offloading"):
        named_policies()["jsq"]().reset(load_scenario("heft-paper").simulator(1))
    with pytest.raises(HetgymError, match=r"unknown rule for offloading 'best'.*all-local"):
        OffloadPolicy("best", "best")
    for name, settings in (
        ("threshold", {"delay": -1.0}),
        ("threshold", {"rate": math.nan}),
        ("lyapunov", {"penalty": math.inf}),
        ("lyapunov", {"budget": -0.1}),
    ):
        field = next(iter(settings))
        with pytest.raises(HetgymError, match=rf"'{name}': {field}: must be zero or more, and finite \(given: "):
            named_policies()[name](**settings)
