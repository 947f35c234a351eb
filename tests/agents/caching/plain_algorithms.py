"""The cache algorithms in plain Python, from their definitions: lists from oldest to newest, and sets of ghosts."""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable


class Plain:
    """What all have: the bytes of the items that they hold or remember, and an order of insertion."""

    def __init__(self, capacity: int, draw: Callable[[], float]) -> None:
        self.capacity = capacity
        self.draw = draw
        self.size: dict[int, int] = {}
        self.order: list[int] = []

    def bytes_of(self, items: Iterable[int]) -> int:
        return sum(self.size[item] for item in items)

    def hit(self, item: int) -> None:
        pass

    def victim(self, incoming: int, evictable: Container[int]) -> int | None:
        return first(self.order, evictable)

    def evict(self, item: int) -> None:
        self.order.remove(item)

    def insert(self, item: int) -> None:
        self.order.append(item)


def first(items: Iterable[int], evictable: Container[int]) -> int | None:
    return next((item for item in items if item in evictable), None)


class Lru(Plain):
    def hit(self, item: int) -> None:
        self.order.remove(item)
        self.order.append(item)


class Clock(Plain):
    def __init__(self, capacity: int, draw: Callable[[], float]) -> None:
        super().__init__(capacity, draw)
        self.marked: set[int] = set()

    def hit(self, item: int) -> None:
        self.marked.add(item)

    def evict(self, item: int) -> None:
        super().evict(item)
        self.marked.discard(item)

    def victim(self, incoming: int, evictable: Container[int]) -> int | None:
        while (item := first(self.order, evictable)) in self.marked:
            self.marked.remove(item)
            self.order.remove(item)
            self.order.append(item)
        return item


class Sieve(Clock):
    hand: int | None = None

    def victim(self, incoming: int, evictable: Container[int]) -> int | None:
        if first(self.order, evictable) is None:
            return None
        position = self.order.index(self.hand) if self.hand is not None else 0
        while self.order[position] not in evictable or self.order[position] in self.marked:
            if self.order[position] in evictable:
                self.marked.remove(self.order[position])
            position = (position + 1) % len(self.order)
        self.hand = self.order[position]
        return self.hand

    def evict(self, item: int) -> None:
        if item == self.hand:
            position = self.order.index(item) + 1
            self.hand = self.order[position] if position < len(self.order) else None
        super().evict(item)


class TwoLists(Plain):
    """Two lists and two of ghosts; an item that returns is known from its being asked for until its insertion."""

    def __init__(self, capacity: int, draw: Callable[[], float]) -> None:
        super().__init__(capacity, draw)
        self.lists: tuple[list[int], list[int]] = ([], [])
        self.ghosts: tuple[list[int], list[int]] = ([], [])
        self.returning: dict[int, int] = {}

    def learn(self, item: int, which: int) -> None:
        pass

    def recall(self, item: int) -> None:
        for which in (0, 1):
            if item in self.ghosts[which]:
                self.learn(item, which)
                self.ghosts[which].remove(item)
                self.returning[item] = which

    def came_back(self, item: int) -> bool:
        self.recall(item)
        return self.returning.pop(item, None) is not None

    def forget(self, which: int, limit: float) -> None:
        while self.bytes_of(self.ghosts[which]) > limit:
            self.ghosts[which].pop(0)

    def oldest(self, which: int, evictable: Container[int]) -> int | None:
        victim = first(self.lists[which], evictable)
        return first(self.lists[1 - which], evictable) if victim is None else victim

    def holder(self, item: int) -> int:
        return 0 if item in self.lists[0] else 1


class TwoQ(TwoLists):
    def hit(self, item: int) -> None:
        if item in self.lists[1]:
            self.lists[1].remove(item)
            self.lists[1].append(item)

    def victim(self, incoming: int, evictable: Container[int]) -> int | None:
        self.recall(incoming)
        return self.oldest(0 if self.bytes_of(self.lists[0]) > self.capacity // 4 else 1, evictable)

    def evict(self, item: int) -> None:
        if item in self.lists[0]:
            self.ghosts[0].append(item)
            self.forget(0, self.capacity // 2)
        self.lists[self.holder(item)].remove(item)

    def insert(self, item: int) -> None:
        self.lists[1 if self.came_back(item) else 0].append(item)


class Slru(TwoLists):
    def hit(self, item: int) -> None:
        self.lists[self.holder(item)].remove(item)
        self.lists[1].append(item)
        while self.bytes_of(self.lists[1]) > math.floor(0.8 * self.capacity):
            self.lists[0].append(self.lists[1].pop(0))

    def victim(self, incoming: int, evictable: Container[int]) -> int | None:
        return self.oldest(0, evictable)

    def evict(self, item: int) -> None:
        self.lists[self.holder(item)].remove(item)

    def insert(self, item: int) -> None:
        self.lists[0].append(item)


class S3Fifo(TwoLists):
    def __init__(self, capacity: int, draw: Callable[[], float]) -> None:
        super().__init__(capacity, draw)
        self.uses: dict[int, int] = {}
        self.filling = True

    def small_is_full(self) -> bool:
        return self.bytes_of(self.lists[0]) >= math.floor(0.1 * self.capacity)

    def hit(self, item: int) -> None:
        self.uses[item] = min(self.uses[item] + 1, 3)

    def from_small(self, evictable: Container[int]) -> int | None:
        for item in tuple(self.lists[0]):
            if self.uses[item] > 1:
                self.uses[item] = 0
                self.lists[0].remove(item)
                self.lists[1].append(item)
            elif item in evictable:
                return item
        return None

    def from_main(self, evictable: Container[int]) -> int | None:
        while (item := first(self.lists[1], evictable)) is not None and self.uses[item] > 0:
            self.uses[item] -= 1
            self.lists[1].remove(item)
            self.lists[1].append(item)
        return item

    def victim(self, incoming: int, evictable: Container[int]) -> int | None:
        self.recall(incoming)
        ways = [self.from_small, self.from_main] if self.small_is_full() else [self.from_main, self.from_small]
        for way in ways * 2:
            if (item := way(evictable)) is not None:
                return item
        return None

    def evict(self, item: int) -> None:
        self.filling = False
        which = self.holder(item)
        self.lists[which].remove(item)
        if which == 0:
            self.ghosts[0].append(item)
            self.forget(0, math.floor(0.9 * self.capacity))

    def insert(self, item: int) -> None:
        self.uses[item] = 0
        self.lists[1 if self.came_back(item) or (self.filling and self.small_is_full()) else 0].append(item)


class Arc(TwoLists):
    target = 0.0

    def hit(self, item: int) -> None:
        self.lists[self.holder(item)].remove(item)
        self.lists[1].append(item)

    def learn(self, item: int, which: int) -> None:
        ratio = self.bytes_of(self.ghosts[1 - which]) / self.bytes_of(self.ghosts[which])
        change = self.size[item] * max(1.0, ratio)
        self.target = min(max(self.target + (change if which == 0 else -change), 0.0), self.capacity)

    def victim(self, incoming: int, evictable: Container[int]) -> int | None:
        self.recall(incoming)
        held = self.bytes_of(self.lists[0])
        takes_first = held > self.target or (held == self.target and self.returning.get(incoming) == 1)
        return self.oldest(0 if takes_first else 1, evictable)

    def evict(self, item: int) -> None:
        which = self.holder(item)
        self.lists[which].remove(item)
        self.ghosts[which].append(item)

    def insert(self, item: int) -> None:
        self.lists[1 if self.came_back(item) else 0].append(item)
        held = [self.bytes_of(items) for items in self.lists]
        self.forget(0, max(self.capacity - held[0], 0))
        self.forget(1, max(2 * self.capacity - sum(held) - self.bytes_of(self.ghosts[0]), 0))


class Lfu(Plain):
    age = 0

    def __init__(self, capacity: int, draw: Callable[[], float]) -> None:
        super().__init__(capacity, draw)
        self.uses: dict[int, int] = {}
        self.key: dict[int, int] = {}

    def use(self, item: int) -> None:
        self.uses[item] += 1
        self.key[item] = self.uses[item] + self.age
        self.order.append(item)

    def hit(self, item: int) -> None:
        self.order.remove(item)
        self.use(item)

    def insert(self, item: int) -> None:
        self.uses[item] = 0
        self.use(item)

    def victim(self, incoming: int, evictable: Container[int]) -> int | None:
        return min((item for item in self.order if item in evictable), key=self.key.__getitem__, default=None)


class LfuDa(Lfu):
    def evict(self, item: int) -> None:
        super().evict(item)
        self.age = max(self.age, self.key[item])


class Lecar(TwoLists):
    """Vietri et al. 2018, algorithm 1 and 2, with ghosts and weights as in the authors' program."""

    def __init__(self, capacity: int, draw: Callable[[], float]) -> None:
        super().__init__(capacity, draw)
        self.uses: dict[int, int] = {}
        self.left: dict[int, int] = {}
        self.weights = [0.5, 0.5]
        self.time = 0
        self.chosen: tuple[int, int] | None = None

    def hit(self, item: int) -> None:
        self.order.remove(item)
        self.order.append(item)
        self.uses[item] += 1
        self.time += 1

    def learn(self, item: int, which: int) -> None:
        places = self.capacity / self.size[item]
        regret = (0.005 ** (1 / places)) ** (self.time - self.left[item])
        self.weights[which] *= math.exp(-0.45 * regret)
        total = sum(self.weights)
        self.weights = [min(max(weight / total, 0.01), 0.99) for weight in self.weights]

    def victim(self, incoming: int, evictable: Container[int]) -> int | None:
        self.recall(incoming)
        oldest = first(self.order, evictable)
        if oldest is None:
            return None
        rarest = min((item for item in self.order if item in evictable), key=self.uses.__getitem__)
        which = 0 if self.draw() <= self.weights[0] else 1
        victim = (oldest, rarest)[which]
        self.chosen = (victim, which) if oldest != rarest else None
        return victim

    def evict(self, item: int) -> None:
        self.order.remove(item)
        if self.chosen is not None and self.chosen[0] == item:
            self.left[item] = self.time
            self.ghosts[self.chosen[1]].append(item)
            self.forget(self.chosen[1], self.capacity // 2)
        self.chosen = None

    def insert(self, item: int) -> None:
        self.uses[item] = self.uses[item] + 1 if self.came_back(item) else 1
        self.order.append(item)
        self.time += 1


PLAIN: dict[str, type[Plain]] = {
    "fifo": Plain, "lru": Lru, "clock": Clock, "sieve": Sieve, "s3-fifo": S3Fifo, "2q": TwoQ, "slru": Slru, "arc": Arc,
    "lfu": Lfu, "lfu-da": LfuDa, "lecar": Lecar,
}  # fmt: skip
