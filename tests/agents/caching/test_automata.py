"""The compiled cache algorithms beside plain ones, with pins, items of several sizes, and evictions by others."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetgym import HetgymError
from hetgym.agents.heuristics.caching import ALGORITHMS, replay_accesses
from hetgym.agents.heuristics.caching.automata import choose_victim, clear, on_evict, on_hit, on_insert, room_for
from hetgym.agents.heuristics.caching.lists import cache_at
from hetgym.compilation import kernel
from hetgym.workloads.counter_random import random_stream, random_uniform, substream

_spec = importlib.util.spec_from_file_location("plain_algorithms", Path(__file__).with_name("plain_algorithms.py"))
plain_algorithms = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plain_algorithms)

CLEAR, HIT, CHOOSE, EVICT, INSERT = range(5)
SEED, POOLS, PER_POOL = 7, 2, 20


@kernel
def tell(code, caches, row, what, pool, item, size, evictable, seed):
    cache = cache_at(caches, row)
    if what == CLEAR:
        clear(code, cache, random_stream(seed, 0, 0))
    elif what == HIT:
        on_hit(code, cache, pool, item)
    elif what == CHOOSE:
        return choose_victim(code, cache, pool, item, evictable)
    elif what == EVICT:
        on_evict(code, cache, pool, item)
    else:
        on_insert(code, cache, pool, item, size)
    return -1


@kernel
def draw(seed, pool, index):
    return random_uniform(substream(random_stream(seed, 0, 0), pool), index)


class Compiled:
    """The second row of a batch of two."""

    def __init__(self, algorithm, capacity, seed=SEED):
        self.code = ALGORITHMS.index(algorithm)
        self.caches = room_for(algorithm, 2, POOLS * PER_POOL, np.full(POOLS, capacity))
        self.seed = seed
        self.tell(CLEAR)

    def tell(self, what, item=0, size=0, evictable=()):
        flags = np.zeros(POOLS * PER_POOL, np.bool_)
        flags[list(evictable)] = True
        return tell(self.code, self.caches, 1, what, item // PER_POOL, item, size, flags, self.seed)


class Both:
    """A pool's worth of plain algorithm for each pool, and the compiled one for all; they must agree."""

    def __init__(self, algorithm, capacity):
        self.compiled = Compiled(algorithm, capacity)
        self.held = [{} for _ in range(POOLS)]
        self.plain = []
        for pool in range(POOLS):
            draws = iter(range(10**9))
            plain = plain_algorithms.PLAIN.get(algorithm)
            self.plain.append(plain and plain(capacity, lambda pool=pool, draws=draws: draw(SEED, pool, next(draws))))
        self.capacity = capacity

    def evict(self, item):
        pool = item // PER_POOL
        self.compiled.tell(EVICT, item)
        if self.plain[pool]:
            self.plain[pool].evict(item)
        del self.held[pool][item]

    def make_room(self, item, size, pinned):
        pool = item // PER_POOL
        held = self.held[pool]
        while sum(held.values()) + size > self.capacity:
            evictable = set(held) - pinned
            victim = self.compiled.tell(CHOOSE, item, evictable=evictable)
            if self.plain[pool]:
                expected = self.plain[pool].victim(item, evictable)
                assert victim == (-1 if expected is None else expected)
            assert victim in evictable or (victim == -1 and not evictable)
            if victim < 0:
                return False
            self.evict(victim)
        return True

    def access(self, item, size, pinned):
        pool = item // PER_POOL
        plain = self.plain[pool]
        if item in self.held[pool]:
            self.compiled.tell(HIT, item)
            if plain:
                plain.hit(item)
        elif self.make_room(item, size, pinned):
            self.held[pool][item] = size
            self.compiled.tell(INSERT, item, size)
            if plain:
                plain.size[item] = size
                plain.insert(item)
        learnt = self.compiled.caches.pools[1, pool]
        if isinstance(plain, plain_algorithms.Arc):
            assert learnt["target"] == pytest.approx(plain.target)
        elif isinstance(plain, plain_algorithms.Lecar):
            assert learnt["weight"] == pytest.approx(plain.weights[0])


ITEM = st.integers(0, POOLS * PER_POOL - 1)
STEP = st.tuples(ITEM, st.sets(ITEM, max_size=6), st.booleans() | st.just(False) | st.just(False))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@settings(max_examples=settings.default.max_examples * 3 // 5)
@given(
    steps=st.lists(STEP, max_size=120),
    sizes=st.just([1] * POOLS * PER_POOL) | st.lists(st.integers(1, 3), min_size=40, max_size=40),
    capacity=st.integers(3, 14),
)
def test_automata_do_what_plain_algorithms_do(algorithm, steps, sizes, capacity):
    both = Both(algorithm, capacity)
    for item, pinned, leaves in steps:
        if leaves and item in both.held[item // PER_POOL]:
            both.evict(item)
        else:
            both.access(item, sizes[item], pinned)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("capacity", [4, 7, 12])
def test_long_streams_agree(algorithm, capacity):
    """Skewed accesses, whose favourites change, and scans, while some items cannot be evicted."""
    random = np.random.default_rng(capacity)
    both = Both(algorithm, capacity)
    for time in range(1500):
        favourite = int(random.zipf(1.3)) + time // 400 * 3
        item = time % PER_POOL if time // 100 % 5 == 4 else favourite % PER_POOL
        pool = int(random.integers(POOLS))
        both.access(item + PER_POOL * pool, 1, set(random.integers(0, POOLS * PER_POOL, 4).tolist()))


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_clearing_forgets_everything(algorithm):
    random = np.random.default_rng(0)
    runs = []
    used = Compiled(algorithm, 4)
    for compiled in (used, used, Compiled(algorithm, 4)):
        compiled.tell(CLEAR)
        held, victims = set(), []
        for item in np.random.default_rng(1).integers(0, 8, 300).tolist():
            if item in held:
                compiled.tell(HIT, item)
                continue
            if len(held) == 4:
                victims.append(compiled.tell(CHOOSE, item, evictable=held))
                compiled.tell(EVICT, victims[-1])
                held.remove(victims[-1])
            compiled.tell(INSERT, item, 1)
            held.add(item)
        runs.append(victims)
        compiled.tell(INSERT, next(item for item in random.permutation(8) if item not in held), 1)
    assert runs[0] == runs[1] == runs[2]
    assert not np.any(used.caches.pools[0]["clock"])


def test_random_takes_each_evictable_item_as_often():
    count = np.zeros(8)
    compiled = Compiled("random", 8)
    for item in range(8):
        compiled.tell(INSERT, item, 1)
    for _ in range(6000):
        count[compiled.tell(CHOOSE, 0, evictable=(1, 2, 3, 5, 6, 7))] += 1
    assert count[[0, 4]].sum() == 0
    assert np.all(np.abs(count[[1, 2, 3, 5, 6, 7]] - 1000) < 150)


def test_random_depends_on_the_seed():
    items = np.random.default_rng(0).integers(0, 100, 20_000)
    assert replay_accesses("random", items, 20, seed=1) == replay_accesses("random", items, 20, seed=1)
    assert replay_accesses("random", items, 20, seed=1) != replay_accesses("random", items, 20, seed=2)


def test_random_and_fifo_hit_as_often_where_accesses_are_independent():
    """Gelenbe 1973, doi:10.1109/TC.1973.5009115."""
    weights = 1.0 / np.arange(1, 501)
    items = np.random.default_rng(0).choice(500, 400_000, p=weights / weights.sum())
    assert replay_accesses("random", items, 50) == pytest.approx(replay_accesses("fifo", items, 50), rel=0.01)


def test_sizes_are_bytes():
    assert replay_accesses("lru", [0, 1, 0, 2, 0, 1], 3, sizes=[1, 2, 2]) == 2
    assert replay_accesses("lru", [0, 3, 0, 3], 3, sizes=[1, 2, 2, 4]) == 1
    for algorithm in ALGORITHMS:
        items = np.random.default_rng(0).integers(0, 30, 3000)
        same = replay_accesses(algorithm, items, 10)
        assert replay_accesses(algorithm, items, 10 << 23, sizes=[1 << 23] * 30) == pytest.approx(same, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("lruu", [0], 1), "cache algorithm 'lruu' is unknown; there are fifo, lru"),
        (("lru", [0.5], 1), "items: must be integers in one dimension"),
        (("lru", [[0]], 1), "items: must be integers in one dimension"),
        (("lru", [0, -3], 1), "items: -3 is negative"),
        (("lru", [0], 0), "capacity: 0 must be positive"),
        (("lru", [0, 1], 1, [1]), "sizes: must be positive, for items 0 to 1"),
        (("lru", [0, 1], 1, [1, 0]), "sizes: must be positive, for items 0 to 1"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(HetgymError, match=message):
        replay_accesses(*arguments)


def test_an_empty_stream_has_no_hits():
    assert replay_accesses("arc", [], 3) == 0
