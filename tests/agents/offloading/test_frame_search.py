"""The best choices of a frame: of all that there are, and of those that single changes lead to."""

import importlib.util
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from hetgym.agents.heuristics.offloading.frame_search import best_choices_coordinate_descent, best_choices_exhaustive
from hetgym.envs.offloading.allocation import ROOM
from hetgym.envs.offloading.frames_reference import allocate_droo, allocate_lydroo

_path = Path(__file__).parents[2] / "envs" / "offloading" / "drawn_frames.py"
_spec = importlib.util.spec_from_file_location("drawn_frames", _path)
drawn_frames = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(drawn_frames)
DROO, LYDROO, drawn_frame, record = (
    drawn_frames.DROO, drawn_frames.LYDROO, drawn_frames.drawn_frame, drawn_frames.record,
)  # fmt: skip


def searched(search, rules, frame, begin=0):
    num_users = frame.gains.size
    choices = np.full(num_users, begin, np.int8)
    value = search(
        record(rules), frame.gains, frame.weights, frame.queues, frame.energy_queues, np.zeros(num_users, ROOM),
        *np.zeros((3, num_users)), choices,
    )  # fmt: skip
    return value, choices.tolist()


def plain_value(rules, frame, choices):
    gains, weights = frame.gains.tolist(), frame.weights.tolist()
    if rules.system == "droo":
        return allocate_droo(rules, gains, weights, choices).value
    return allocate_lydroo(
        rules, gains, weights, frame.queues.tolist(), frame.energy_queues.tolist(), choices
    ).value  # fmt: skip


@pytest.mark.parametrize("rules", [DROO, LYDROO])
def test_exhaustive_is_the_best_of_all(rules):
    luck = np.random.default_rng(1)
    mixed = 0
    for _ in range(8):
        frame = drawn_frame(rules, luck, int(luck.integers(1, 6)))
        value, choices = searched(best_choices_exhaustive, rules, frame)
        best = max(plain_value(rules, frame, list(every)) for every in product((0, 1), repeat=frame.gains.size))
        assert value == pytest.approx(best, rel=1e-12)
        assert plain_value(rules, frame, choices) == pytest.approx(best, rel=1e-12)
        mixed += 0 < sum(choices) < frame.gains.size
    assert mixed > 2


@pytest.mark.parametrize("search", [best_choices_exhaustive, best_choices_coordinate_descent])
def test_of_equals_the_first_counts(search):
    frame = drawn_frames.Frame(np.zeros(3), np.ones(3), np.zeros(3), np.zeros(3), np.zeros(3, np.int8))
    assert searched(search, LYDROO, frame) == (0.0, [0, 0, 0])


def test_exhaustive_counts_user_0_as_the_last_digit():
    # Alone either could have all of the time; together they cannot, and are the same.
    frame = drawn_frames.Frame(
        np.full(2, 1e-11), np.ones(2), np.full(2, 1e8), np.full(2, 1e-6), np.zeros(2, np.int8)
    )  # fmt: skip
    assert searched(best_choices_exhaustive, LYDROO, frame)[1] == [1, 0]
    assert searched(best_choices_coordinate_descent, LYDROO, frame)[1] == [1, 0]


@pytest.mark.parametrize("rules", [DROO, LYDROO])
@pytest.mark.parametrize("begin", [0, 1])
def test_coordinate_descent_ends_where_no_change_gains(rules, begin):
    luck = np.random.default_rng(2)
    for _ in range(10):
        frame = drawn_frame(rules, luck, 6)
        value, choices = searched(best_choices_coordinate_descent, rules, frame, begin)
        assert value == pytest.approx(plain_value(rules, frame, choices), rel=1e-12)
        for user in range(6):
            changed = [choice ^ (user == other) for other, choice in enumerate(choices)]
            assert plain_value(rules, frame, changed) <= value * (1 + 1e-12)


@pytest.mark.parametrize("rules", [DROO, LYDROO])
def test_coordinate_descent_is_nearly_the_best(rules):
    luck = np.random.default_rng(3)
    ratios = []
    for _ in range(50):
        frame = drawn_frame(rules, luck, 10)
        best = searched(best_choices_exhaustive, rules, frame)[0]
        ratios.append(searched(best_choices_coordinate_descent, rules, frame)[0] / best)
    assert max(ratios) <= 1.0
    assert np.mean(ratios) >= 0.99
