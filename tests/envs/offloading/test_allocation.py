"""Allocations of a frame are the best there are: by hand, by the conditions of optimality, and by scipy's solver."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.optimize import minimize

_spec = importlib.util.spec_from_file_location("drawn_frames", Path(__file__).with_name("drawn_frames.py"))
drawn_frames = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(drawn_frames)
DROO, LYDROO, Frame, allocated, drawn_frame = (
    drawn_frames.DROO, drawn_frames.LYDROO, drawn_frames.Frame, drawn_frames.allocated, drawn_frames.drawn_frame,
)  # fmt: skip

E = np.e

# A second carries 1e6 bits for each nat/s/Hz, and the noise is 1e-6 W.
BY_HAND = {"bandwidth": 1e6 * np.log(2), "overhead": 1.0, "noise": 1e-12 / np.log(2)}
POWERED = replace(DROO, power=2.0, efficiency=0.5, **BY_HAND)
QUEUED = replace(LYDROO, power=E**2 - 1, rate_weight=1e6, energy_weight=1.0, **BY_HAND)


def frame(choices, gains, weights=None, queues=None, energy_queues=None):
    num_users = len(choices)
    zeros = np.zeros(num_users)
    return Frame(
        np.array(gains, float),
        np.ones(num_users) if weights is None else np.array(weights, float),
        zeros if queues is None else np.array(queues, float),
        zeros if energy_queues is None else np.array(energy_queues, float),
        np.array(choices, np.int8),
    )


def nats(rules):
    return rules.bandwidth / (rules.overhead * np.log(2))


def test_droo_one_user_computes_all_through_the_frame():
    # It harvests 1e-5 W: (1e-5 / 1e-26)^(1/3) = 1e7 cycles/s, 100 a bit.
    found = allocated(POWERED, frame([0], [1e-5], [1.5]))
    assert found.bits == pytest.approx([1e5])
    assert found.energies == pytest.approx([1e-5])
    assert found.value == pytest.approx(1.5e5)
    assert found.shares.tolist() == [0.0]


@pytest.mark.parametrize("log_snr", [1e-3, 0.01, 0.03, 0.1, 1.0, 5.0, 30.0])
def test_droo_one_user_offloads(log_snr):
    # The best a for one user has s = (z - 1) exp(z) + 1, and with it tau = s / (s + exp(z) - 1). With z = 1: s = 1,
    # tau = 1/e, and the rate is 1e6 z tau.
    snr = log_snr * np.exp(log_snr) - np.expm1(log_snr)
    share = snr / (snr + np.expm1(log_snr))
    found = allocated(POWERED, frame([1], [np.sqrt(snr * 1e-6)]))
    # Next to the best, a share's rounding costs its square.
    assert found.shares == pytest.approx([share], rel=1e-9)
    assert found.value == pytest.approx(1e6 * log_snr * share, rel=1e-12)
    assert found.energies == pytest.approx([np.sqrt(snr * 1e-6) * (1 - share)], rel=1e-9)


def test_droo_takes_bits_and_energy_of_the_whole_frame():
    short, long = (allocated(replace(DROO, duration=seconds), frame([0, 1], [3e-6, 5e-6])) for seconds in (1.0, 2.5))
    assert long.value == pytest.approx(short.value, rel=1e-14)
    assert long.shares == pytest.approx(short.shares, rel=1e-14)
    assert long.bits == pytest.approx(2.5 * short.bits, rel=1e-14)
    assert long.energies == pytest.approx(2.5 * short.energies, rel=1e-14)


@pytest.mark.parametrize(
    ("choices", "gains", "weights", "bits"),
    [
        ([0, 0], [0.0, 1e-5], [1, 1], [0, 1e5]),  # no gain at all
        ([1, 0], [0.0, 1e-5], [1, 1], [0, 1e5]),  # no gain: no time
        ([1, 0], [1e-3, 1e-5], [0, 1], [0, 1e5]),  # no weight: no time
        ([1, 1], [0.0, 0.0], [1, 1], [0, 0]),
        ([1, 1], [0.0, 1e-3], [1, 1], [0, 1e6 / E]),  # as if it was alone; z = 1 as above
    ],
)
def test_droo_gives_no_time_for_nothing(choices, gains, weights, bits):
    found = allocated(POWERED, frame(choices, gains, weights))
    assert found.bits == pytest.approx(bits)
    assert found.value == pytest.approx(np.dot(weights, bits))


def test_lydroo_local_frequency_has_three_bounds():
    # alpha = 1e6 + 1e6, 100 cycles a bit: the queue takes 1e8 cycles/s; the processor gives 3e8; the energy allows
    # (2e6 / (3 x 100 x 1e-26 x beta))^(1/2) = 1e7 / 2 cycles/s with beta = 2e6 / (3e-24 x 2.5e13).
    beta = 2e6 / (3e-24 * 2.5e13)
    found = allocated(QUEUED, frame([0, 0, 0], [1, 1, 1], queues=[1e6, 1e9, 1e6], energy_queues=[0, 0, beta]))
    assert found.bits == pytest.approx([1e6, 3e6, 5e4])
    assert found.energies == pytest.approx([1e-26 * 1e24, 1e-26 * 2.7e25, 1e-26 * 1.25e20])
    assert found.value == pytest.approx(2e6 * 1e6 + 1.001e9 * 3e6 + 2e6 * 5e4 - beta * 1.25e-6)


def test_lydroo_sends_at_full_power_if_energy_is_free():
    # A gain of 1e-6 is an SNR of 1 at 1 W: z = ln(1 + e^2 - 1) = 2, so 2e6 bit/s.
    found = allocated(QUEUED, frame([1], [1e-6], queues=[1e6]))
    assert found.shares == pytest.approx([0.5])
    assert found.bits == pytest.approx([1e6])
    assert found.energies == pytest.approx([0.5 * (E**2 - 1)])
    assert found.value == pytest.approx(2e6 * 1e6)
    assert allocated(QUEUED, frame([1], [1e-6], queues=[5e6])).bits == pytest.approx([2e6])


def test_lydroo_takes_its_time_if_energy_costs():
    # It has a second for 1e6 bits, so z = 1, if a second at z0 is worth sending more: alpha b / beta = e^1.5.
    beta = 2e6 * 1e6 / E**1.5
    found = allocated(QUEUED, frame([1], [1e-6], queues=[1e6], energy_queues=[beta]))
    assert found.shares == pytest.approx([1.0], rel=1e-12)
    assert found.energies == pytest.approx([E - 1])
    assert found.value == pytest.approx(2e6 * 1e6 - beta * (E - 1))
    # With a longer queue it sends all the frame at z0 = 1.5: alpha = 4e6 has ln(2) more of z0.
    found = allocated(QUEUED, frame([1], [1e-6], queues=[3e6], energy_queues=[2 * beta]))
    assert found.bits == pytest.approx([1.5e6])
    assert found.energies == pytest.approx([E**1.5 - 1])


def test_lydroo_sends_nothing_that_is_not_worth_its_energy():
    # alpha b g / beta = 2e6 x 1e6 / 2e12 = 1: the first bit costs what it is worth.
    found = allocated(QUEUED, frame([1, 1], [1e-6, 1e-6], queues=[1e6, 1e6], energy_queues=[2e12, 3e12]))
    assert found.value == 0.0
    assert found.bits.tolist() == found.energies.tolist() == found.shares.tolist() == [0.0, 0.0]


def test_lydroo_gives_what_is_left_to_the_first_of_equals():
    found = allocated(QUEUED, frame([1, 1, 1], [1e-6] * 3, weights=[1, 1, 2], queues=[3e6, 3e6, 2.1e6]))
    # alphas 4, 4, 4.1 Mbit: user 2 has none left after 2e6 bits.
    assert found.bits == pytest.approx([0.0, 0.0, 2e6])
    found = allocated(QUEUED, frame([1, 1, 1], [1e-6] * 3, weights=[1, 1, 3], queues=[3e6, 3e6, 1.5e6]))
    assert found.bits == pytest.approx([0.5e6, 0.0, 1.5e6])


@pytest.mark.parametrize(("queue", "gain"), [(0.0, 1e-6), (1e6, 0.0), (1e6, 1e-320), (1e6, 1e-30)])
@pytest.mark.parametrize("energy_queue", [0.0, 1.0, 1e12])
def test_lydroo_without_data_or_gain_uses_nothing(queue, gain, energy_queue):
    found = allocated(QUEUED, frame([1], [gain], queues=[queue], energy_queues=[energy_queue]))
    assert found.bits == pytest.approx([0.0], abs=1e-10)
    assert 0.0 <= found.value <= 1e-3
    assert 0.0 <= found.shares[0] <= 1.0


def test_droo_marginal_values_are_one_price():
    luck = np.random.default_rng(1)
    for _ in range(200):
        drawn = drawn_frame(DROO, luck, int(luck.integers(1, 13)))
        found = allocated(DROO, drawn)
        sends = drawn.choices == 1
        broadcast = 1 - found.shares.sum()
        assert (found.shares[~sends] == 0).all()
        assert (found.shares[sends] > 0).all()
        if not sends.any():
            continue
        snr = 2.1 * drawn.gains**2 / 1e-10
        worth = drawn.weights * nats(DROO)
        heard = snr[sends] * broadcast / found.shares[sends]
        of_time = worth[sends] * (np.log1p(heard) - heard / (1 + heard))
        local = np.dot(drawn.weights, found.bits * ~sends)
        of_broadcast = local / (3 * broadcast) + np.sum(worth[sends] * snr[sends] / (1 + heard))
        assert of_time == pytest.approx(np.full(of_time.size, of_broadcast), rel=1e-8)


def test_lydroo_marginal_values_are_one_price():
    luck = np.random.default_rng(2)
    kinds = set()
    for _ in range(300):
        drawn = drawn_frame(LYDROO, luck, int(luck.integers(1, 13)))
        found = allocated(LYDROO, drawn)
        sends = found.shares > 0
        assert found.shares.sum() <= 1 + 1e-12
        assert (found.bits <= drawn.queues * (1 + 1e-12)).all()
        assert not (sends & (drawn.choices == 0)).any()
        snr = drawn.gains / (LYDROO.noise * LYDROO.bandwidth)
        worth = drawn.queues + LYDROO.rate_weight * drawn.weights
        cost = LYDROO.energy_weight * drawn.energy_queues / snr
        most = np.log1p(LYDROO.power * snr)
        with np.errstate(divide="ignore"):
            eager = np.minimum(most, np.log(worth * nats(LYDROO) / cost))
        limit = np.where(eager > 0, worth * nats(LYDROO) * eager - cost * np.expm1(eager), 0) * (drawn.queues > 0)
        log_snr = found.bits[sends] / (nats(LYDROO) * found.shares[sends])
        assert found.energies[sends] == pytest.approx(found.shares[sends] * np.expm1(log_snr) / snr[sends], rel=1e-12)
        assert (log_snr <= most[sends] * (1 + 1e-12)).all()
        offloads = drawn.choices == 1
        full = found.bits >= drawn.queues * (1 - 1e-12)
        partial = sends & ~full
        saved = cost[sends] * (log_snr * np.exp(log_snr) - np.expm1(log_snr))  # by one more second
        inside = (full[sends]) & (log_snr < most[sends] * (1 - 1e-9))
        # The price lies between what those who give up and those who send all of theirs would pay.
        low = max([0.0, *limit[offloads & ~sends], *limit[partial], *saved[inside]])
        high = min([*limit[sends], *saved[inside], *limit[partial], np.inf])
        assert low <= high * (1 + 1e-9)
        assert partial.sum() <= 1
        if low > 0:
            assert found.shares.sum() == pytest.approx(1.0, abs=1e-12)
        kinds.add((bool(partial.any()), bool(inside.any()), low == 0))
    assert {(True, False, False), (False, True, False), (False, False, True)} <= kinds


def best_droo(drawn):
    """Returns scipy's best weighted rate, bit/s."""
    sends = drawn.choices == 1
    snr = 2.1 * drawn.gains[sends] ** 2 / 1e-10
    worth = drawn.weights[sends] * nats(DROO)
    local = np.dot(drawn.weights[~sends], np.cbrt(2.1 * drawn.gains[~sends] / 1e-26) / 100)
    scale = local + np.dot(worth, snr)

    def minus_rate(x):
        broadcast, shares = x[0], x[1:]
        sent = worth * shares * np.log1p(snr * broadcast / shares)
        return -(local * np.cbrt(broadcast) + sent.sum()) / scale

    def gradient(x):
        broadcast, shares = x[0], x[1:]
        heard = snr * broadcast / shares
        of_broadcast = local / (3 * np.cbrt(broadcast) ** 2) + np.sum(worth * snr / (1 + heard))
        return -np.append(of_broadcast, worth * (np.log1p(heard) - heard / (1 + heard))) / scale

    start = np.append(0.7, np.full(snr.size, 0.3 / max(snr.size, 1)))
    found = minimize(
        minus_rate, start, jac=gradient, method="SLSQP", bounds=[(1e-9, 1)] * start.size,
        constraints={"type": "ineq", "fun": lambda x: 1 - x.sum(), "jac": lambda x: -np.ones(x.size)},
        options={"ftol": 1e-15, "maxiter": 1000},
    )  # fmt: skip
    return -found.fun * scale


def test_droo_is_what_scipy_finds():
    luck = np.random.default_rng(3)
    for _ in range(120):
        drawn = drawn_frame(DROO, luck, int(luck.integers(1, 11)))
        assert allocated(DROO, drawn).value == pytest.approx(best_droo(drawn), rel=1e-6)


def best_lydroo(drawn):
    """Returns scipy's best value, bit^2, over bits and shares of those who offload, and over local bits."""
    sends = (drawn.choices == 1) & (drawn.queues > 0)
    local = (drawn.choices == 0) & (drawn.queues > 0)
    worth = drawn.queues + LYDROO.rate_weight * drawn.weights
    cost = LYDROO.energy_weight * drawn.energy_queues
    snr = drawn.gains[sends] / (LYDROO.noise * LYDROO.bandwidth)
    most = nats(LYDROO) * np.log1p(LYDROO.power * snr)
    num_senders = snr.size
    if not (sends | local).any():
        return 0.0
    scale = np.dot(worth, drawn.queues)
    queues = np.append(drawn.queues[sends], drawn.queues[local])
    worths = np.append(worth[sends], worth[local])
    cubes = 1e-26 * 100**3 * cost[local]

    def parts(x):
        return x[:num_senders] * queues[:num_senders], x[num_senders : 2 * num_senders], x[2 * num_senders :]

    def minus_value(x):
        bits, shares, own = parts(x)
        own = own * queues[num_senders:]
        energy = shares * np.expm1(bits / (nats(LYDROO) * shares)) / snr
        value = np.dot(worths, np.append(bits, own)) - np.dot(cost[sends], energy) - np.dot(cubes, own**3)
        return -value / scale

    def gradient(x):
        bits, shares, own = parts(x)
        own = own * queues[num_senders:]
        log_snr = bits / (nats(LYDROO) * shares)
        by_bits = worths[:num_senders] - cost[sends] * np.exp(log_snr) / (snr * nats(LYDROO))
        by_share = cost[sends] * (log_snr * np.exp(log_snr) - np.expm1(log_snr)) / snr
        by_own = worths[num_senders:] - 3 * cubes * own**2
        return -np.concatenate([by_bits * queues[:num_senders], by_share, by_own * queues[num_senders:]]) / scale

    # bits <= most x share, and sum of shares <= 1.
    matrix = np.zeros((num_senders + 1, 2 * num_senders + local.sum()))
    for place in range(num_senders):
        matrix[place, place] = -queues[place] / most[place]
        matrix[place, num_senders + place] = 1
    matrix[-1, num_senders : 2 * num_senders] = -1
    limits = np.append(np.zeros(num_senders), -1)
    best = 0.0
    for first in (0.01, 0.5):  # where it begins: it does not always reach the end from one place
        shares = np.full(num_senders, 1 / max(num_senders, 1))
        start = np.concatenate([np.minimum(first, first * most * shares / queues[:num_senders]), shares,
                                np.full(local.sum(), first)])  # fmt: skip
        start[2 * num_senders :] *= np.minimum(1, 3e6 / queues[num_senders:])
        bounds = [(0, 1)] * num_senders + [(1e-9, 1)] * num_senders
        bounds += [(0, min(1, 3e6 / queue)) for queue in queues[num_senders:]]
        found = minimize(
            minus_value, start, jac=gradient, method="SLSQP", bounds=bounds,
            constraints={"type": "ineq", "fun": lambda x: matrix @ x - limits, "jac": lambda x: matrix},  # noqa: ARG005
            options={"ftol": 1e-15, "maxiter": 2000},
        )  # fmt: skip
        if (matrix @ found.x - limits >= -1e-9).all():
            best = max(best, -found.fun * scale)
    return best


def test_lydroo_is_what_scipy_finds():
    luck = np.random.default_rng(4)
    for _ in range(120):
        drawn = drawn_frame(LYDROO, luck, int(luck.integers(1, 8)))
        best = best_lydroo(drawn)
        assert allocated(LYDROO, drawn).value == pytest.approx(best, rel=1e-6, abs=1e-6)
