"""The plain-Python player of frames: by hand, and against the kernels."""

import importlib.util
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hetgym.envs.offloading.frames_reference import FrameRun, allocate_droo, allocate_lydroo

_spec = importlib.util.spec_from_file_location("drawn_frames", Path(__file__).with_name("drawn_frames.py"))
drawn_frames = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(drawn_frames)
DROO, LYDROO, Frame, allocated, drawn_frame = (
    drawn_frames.DROO, drawn_frames.LYDROO, drawn_frames.Frame, drawn_frames.allocated, drawn_frames.drawn_frame,
)  # fmt: skip

# A second carries 1e6 bits for each nat/s/Hz, and the noise is 1e-6 W.
BY_HAND = {"bandwidth": 1e6 * math.log(2), "overhead": 1.0, "noise": 1e-12 / math.log(2)}


def referee(rules, frame):
    gains, weights, choices = frame.gains.tolist(), frame.weights.tolist(), frame.choices.tolist()
    if rules.system == "droo":
        return allocate_droo(rules, gains, weights, choices)
    return allocate_lydroo(rules, gains, weights, frame.queues.tolist(), frame.energy_queues.tolist(), choices)


def assert_same(rules, frame):
    found, right = allocated(rules, frame), referee(rules, frame)
    assert found.value == pytest.approx(right.value, rel=1e-12)
    assert found.shares == pytest.approx(right.shares, rel=1e-8, abs=1e-9)
    assert found.bits == pytest.approx(right.bits, rel=1e-8, abs=1e-3)
    assert found.energies == pytest.approx(right.energies, rel=1e-8, abs=1e-12)


@settings(max_examples=settings.default.max_examples * 3)
@given(st.sampled_from([DROO, LYDROO]), st.floats(0.01, 2.5), st.integers(1, 12), st.integers(0, 2**32))
def test_kernels_allocate_as_the_player_does(rules, duration, num_users, seed):
    frame = drawn_frame(rules, np.random.default_rng(seed), num_users)
    assert_same(replace(rules, duration=duration), frame)


@pytest.mark.parametrize("rules", [DROO, LYDROO])
@pytest.mark.parametrize("energy_queue", [0.0, 0.01, 1.0])
def test_kernels_treat_equals_as_the_player_does(rules, energy_queue):
    gains = np.array([2e-6, 2e-6, 0.0, 1e-6] if rules.system == "droo" else [1e-11, 1e-11, 0.0, 5e-12])
    for queue in (0.0, 1e4, 3e6, 2e7):
        for number in range(16):
            choices = np.array([number >> user & 1 for user in range(4)], np.int8)
            assert_same(rules, Frame(gains, np.ones(4), np.full(4, queue), np.full(4, energy_queue), choices))


def test_droo_run_by_hand():
    # Harvests 1e-5 W: 1e7 cycles/s of 100 a bit; or an SNR of 1, with which it sends 1e6 / e bit/s in 1/e of the time.
    rules = replace(DROO, power=2.0, efficiency=0.5, unit=2e5, **BY_HAND)
    run = FrameRun(rules, [1.0, 2.0], [[1e-5, 8e-5], [0.0, 1e-3]])
    assert (run.decide(0), run.user, run.frame) == (0.0, 1, 0)
    # (8e-5 / 1e-26)^(1/3) is 2e7, so bits are 1e5 and 2e5, and the weighted rate is 5e5.
    assert run.decide(0) == pytest.approx(2.5)
    assert (run.user, run.frame, run.is_over) == (0, 1, False)
    run.decide(0)
    assert run.decide(1) == pytest.approx(2e6 / math.e / 2e5)
    assert run.is_over
    assert run.queues == [0.0, 0.0]
    joules = 9e-5 + 1e-3 * (1 - 1 / math.e)
    assert run.metrics() == pytest.approx(
        {
            "computation_rate": (3e5 + 1e6 / math.e) / 2,
            "weighted_rate": (5e5 + 2e6 / math.e) / 2,
            "energy": joules / 4,
            "power": joules / 4,
            "backlog": 0.0,
        }
    )


def test_lydroo_run_by_hand():
    rules = replace(
        LYDROO, power=math.e**2 - 1, rate_weight=1e6, energy_weight=1e10, energy_budget=1.0, unit=1e12, **BY_HAND
    )
    run = FrameRun(rules, [2.0], [[1e-6]] * 3, [[1e6], [2e5], [0.0]])
    # There is nothing to send; 1e6 bits arrive, so the queue is (1e6)^2 / 2 worse.
    assert run.decide(1) == pytest.approx(-0.5)
    assert (run.queues, run.energy_queues) == ([1e6], [0.0])
    # Sent at z = 2 in half a second, with e^2 - 1 W.
    reward = run.decide(1)
    excess = 0.5 * (math.e**2 - 1) - 1.0
    assert run.queues == pytest.approx([2e5])
    assert run.energy_queues == pytest.approx([excess])
    assert reward == pytest.approx(2e6 * 1e6 / 1e12 - (0.02 - 0.5) - 0.5 * 1e10 * excess**2 / 1e12)
    # Computed at 2e7 Hz: kappa f^3 is 8e-5 J, far below the budget.
    run.decide(0)
    assert run.energy_queues == pytest.approx([excess - 1.0 + 8e-5])
    assert run.backlogs == pytest.approx([1e6, 2e5, 0.0])
    assert run.metrics()["backlog"] == pytest.approx(4e5)
    assert run.metrics()["computation_rate"] == pytest.approx(4e5)
    assert run.metrics()["energy"] == pytest.approx((0.5 * (math.e**2 - 1) + 8e-5) / 3)


def test_rewards_of_lydroo_add_up_to_what_is_done_less_what_is_left():
    luck = np.random.default_rng(5)
    gains = 3 * (3e8 / (4 * np.pi * 915e6 * 150)) ** 3 * luck.exponential(size=(50, 4))
    run = FrameRun(LYDROO, [1.5, 1.0, 1.5, 1.0], gains.tolist(), luck.exponential(3e6, (50, 4)).tolist())
    while not run.is_over:
        run.decide(int(luck.integers(2)))
    left = sum(queue**2 for queue in run.queues) + 1e16 * sum(queue**2 for queue in run.energy_queues)
    done = 20e6 * run.metrics()["weighted_rate"] * 50
    assert max(run.energy_queues) > 0
    assert sum(run.rewards) * 1e14 == pytest.approx(done - left / 2)
