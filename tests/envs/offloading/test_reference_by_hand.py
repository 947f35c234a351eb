"""Small episodes of offloading, worked out by hand, played by the reference, and found right by the checker.

Unless an episode says otherwise: a user computes one unit a second for 1 J, and sends with 1 W; a server's units do one
unit a second for a request alone, and its shared unit shares its processor; a cell has 1 Hz and a noise of 1 W/Hz.
"""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from hetgym.envs.offloading.checker import violations
from hetgym.envs.offloading.reference import Run
from hetgym.errors import HetgymError

_path = Path(__file__).with_name("small_offloads.py")
_spec = importlib.util.spec_from_file_location("small_offloads", _path)
small_offloads = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(small_offloads)
small_instance = small_offloads.small_instance

LOCAL = [{"local": 1}]
LINE = {"is_radio": False}


def at(*arrivals, **given):
    """Requests of user 0, at these times."""
    return [{"arrival": arrival, **given} for arrival in arrivals]


def played(instance, choices, **rules):
    """Plays an episode with either reward, holds it against the checker, and returns its table."""
    for reward in ("forecast", "realised"):
        run = Run(instance, reward=reward, **rules)
        costs = np.sum([decide(run, choice).costs for choice in choices], axis=0)
        assert run.is_over
        table = run.table()
        misses = np.where(table["missed"], 1.0, table["error"])
        assert costs == pytest.approx([table["delay"].sum(), table["energy"].sum(), misses.sum()])
        assert violations(table, instance, metrics=run.metrics(), **rules) == []
    return table


def decide(run, choice):
    return run.decide_parts(*choice) if run.continuous else run.decide(*choice)


def test_a_processor_does_one_thing_at_a_time():
    # 1 + 0.5 x 2 + 0.25 x 2^2 + 2 x 3 = 9 units, at 2 units/s: 4.5 s, and 27 J.
    # 0: [0, 4.5]; 1 arrives at 1 and begins at 4.5: [4.5, 9]; 2 arrives at 10: [10, 14.5].
    instance = small_instance(
        at(0, 1, 10, size=2, work=3), [[{"local": [1, 0.5, 0.25, 2]}], [{}]], users=[{"speed": 2, "energy": 3}]
    )
    table = played(instance, [(0,)] * 3)
    assert list(table["end"]) == list(table["ready"]) == [4.5, 9, 14.5]
    assert list(table["delay"]) == [4.5, 8, 4.5]
    assert list(table["energy"]) == [27, 27, 27]
    assert table[["begin_send", "sent", "reached", "served", "left", "down", "airtime", "power"]].isna().all(axis=None)


# Up: 2 Hz, noise 0.5 W/Hz x 2 Hz = 1 W, 3 W: 2 log2(1 + 3) = 4 bit/s. Down: 1 Hz, 0.5 W, 3.5 W: log2(1 + 7) = 3 bit/s.
ALL_STAGES = {
    "requests": at(1, size=4, work=2, deadline=8.5),
    "options": [LOCAL, [{"local": 1, "serial": 3, "shared": [0, 0, 0, 1], "up": [0, 2], "down": [0, 0, 3]}]],
    "users": [{"power": 3, "idle_power": 0.25, "receive_power": 0.5, "energy": 5}],
    "servers": [{"speed": 2, "per_job": 0.5, "energy": 2}],
    "accesses": [{"bandwidth": 2, "noise": 0.5, "power": 3.5}],
}


def test_all_stages_of_a_request():
    # Local work [1, 2]; 8 bits [2, 4]; latency 0.5; 3 serial units at 2 units/s [4.5, 6]; 2 shared units of 0.5 s [6,
    # 7]; latency; 6 bits [7.5, 9.5]. 5 J of local work, 3 W x 2 s, 0.25 W x 3.5 s, 0.5 W x 2 s, 5 units x 2 J.
    instance = small_instance(**ALL_STAGES, targets=[{"latency": 0.5}])
    row = played(instance, [(1,)]).iloc[0]
    names = ["decided", "ready", "begin_send", "sent", "reached", "served", "left", "down", "end", "delay", "airtime"]
    assert list(row[names]) == pytest.approx([1, 2, 2, 4, 4.5, 6, 7, 7.5, 9.5, 8.5, 2])
    assert row["energy"] == pytest.approx(5 + 6 + 0.875 + 1 + 10)
    assert not row["missed"]  # it ends at its deadline

    forecast = Run(instance).forecast(1)
    assert [forecast.done, forecast.rate, forecast.sent, forecast.served] == pytest.approx([2, 4, 4, 6])
    assert [forecast.left, forecast.end, forecast.delay, forecast.energy] == pytest.approx([7, 9.5, 8.5, 22.875])
    assert (forecast.imposed, forecast.missed, forecast.error) == (0, False, 0)


def test_a_backhaul_limits_both_ways():
    # At 2 bit/s: 8 bits [2, 6]; serial [6, 7.5]; shared [7.5, 8.5]; 6 bits [8.5, 11.5]: after the deadline at 9.5.
    table = played(small_instance(**ALL_STAGES, targets=[{"backhaul": 2}]), [(1,)])
    assert list(table.loc[0, ["sent", "served", "left", "down", "end"]]) == pytest.approx([6, 7.5, 8.5, 8.5, 11.5])
    assert table.loc[0, "energy"] == pytest.approx(5 + 12 + 0.25 * 2.5 + 0.5 * 3 + 10)
    assert table.loc[0, "missed"]


def test_a_radio_sends_first_what_became_ready_first():
    # 1 bit/s. 0 computes [0, 3] before it can be sent; 1 is sent [1, 4]; 2, ready at 2, [4, 5]; 3, ready at 2.5, has no
    # bits, but waits for its turn at 5; 0, ready at 3, [5, 9]; 4 is ready at 3 too, but was decided later: [9, 10].
    options = [{"local": 3, "up": 4}, {"up": 3}, {"up": 1}, {}]
    instance = small_instance(at(0, 1, 2, 2.5, 3), [LOCAL, options])
    table = played(instance, [(1, 0), (1, 1), (1, 2), (1, 3), (1, 2)])
    assert list(table["ready"]) == [3, 1, 2, 2.5, 3]
    assert list(table["begin_send"]) == pytest.approx([5, 1, 4, 5, 9])
    assert list(table["sent"]) == pytest.approx([9, 4, 5, 5, 10])
    # 0 has 3 units of 1 J, and each of them 1 W.
    assert list(table["energy"]) == pytest.approx([7, 3, 1, 0, 1])


def test_a_line_is_shared_equally():
    # 4 bit/s. 0 sends 4 of 8 bits in [0, 1], then both 2 bit/s: 0 is done at 3; 1 has 2 of 6 bits left: [3, 3.5].
    instance = small_instance(
        [{"arrival": 0}, {"arrival": 1, "user": 1}], [LOCAL, [{"up": 8}, {"up": 6}]], users=[{}, {"power": 2}],
        accesses=[LINE], trace=[4], sharing="equal",
    )  # fmt: skip
    run = Run(instance)
    assert run.forecast(1, 0).sent == 2
    run.decide(1, 0)
    assert (run.forecast(1, 1).rate, run.forecast(1, 1).sent) == (2, 4)
    table = played(instance, [(1, 0), (1, 1)])
    assert list(table["sent"]) == pytest.approx([3, 3.5])
    assert list(table["energy"]) == pytest.approx([3, 5])


@pytest.mark.parametrize(("sharing", "sent"), [("equal", [2, 2, 1]), ("dedicated", [1, 1, 1])])
def test_a_cell_is_shared_equally(sharing, sent):
    # 4 Hz. Two send at once: with 2 Hz each and 2 W of noise, 2 log2(1 + 6 / 2) = 4 bit/s, 8 bits: [0, 2]. With 4 Hz
    # each and a gain of 2, 4 log2(1 + 12 / 4) = 8 bit/s: [0, 1]. What is sent to the other cell (4 log2(1 + 12 / 4))
    # shares with neither.
    gain = 1 if sharing == "equal" else 2
    instance = small_instance(
        [{"user": 0}, {"user": 1}, {"user": 2}], [LOCAL, [{"up": 8}], [{"up": 8}]], users=[{"power": 6}] * 3,
        accesses=[{"bandwidth": 4}] * 2, targets=[{}, {"access": 1}], gain=[[gain, 2]] * 3, sharing=sharing,
    )  # fmt: skip
    assert list(played(instance, [(1,), (1,), (2,)])["sent"]) == pytest.approx(sent)


def test_others_interfere_in_all_cells():
    # User 0 sends to cell 0: alone log2(1 + 15) = 4 bit/s; while user 1 sends to cell 1, log2(1 + 15 / (1 + 4)) = 2
    # bit/s. User 1 sends to cell 1 with 2 W: alone log2(1 + 2 x 7.5) = 4 bit/s; while user 0 sends, log2(1 + 15 / (1 +
    # 14)) = 1. User 2 sends on a line all the time, 1 bit/s, and interferes with neither. User 0: 4 bits in [0, 1], 4
    # in [1, 3]; user 1: 2 bits in [1, 3], 2 in [3, 3.5].
    instance = small_instance(
        [{"user": 2}, {"user": 0}, {"arrival": 1, "user": 1}],
        [LOCAL, [{"up": 8}], [{"up": 4}], [{"up": 8}]],
        users=[{}, {"power": 2}, {"power": 9}],
        accesses=[{}, {}, LINE],
        targets=[{}, {"access": 1}, {"access": 2}],
        gain=[[15, 14, 1], [2, 7.5, 1], [9, 9, 1]],
        sharing="interference",
    )
    run = Run(instance)
    run.decide(3)
    assert run.forecast(1).rate == pytest.approx(4)
    run.decide(1)
    assert run.forecast(2).rate == pytest.approx(1)
    table = played(instance, [(3,), (1,), (2,)])
    assert list(table["sent"]) == pytest.approx([8, 3, 3.5])
    assert list(table["energy"]) == pytest.approx([72, 3, 5])


def test_a_rate_changes_with_the_block():
    # User 1 begins with the trace's second block: 1, 2, 4, 1 ... bit/s, in blocks of 1 s. 5 bits from 0.5 on: 0.5 until
    # 1, 2 until 2, and 2.5 at 4 bit/s until 2.625. User 0, from 2 on: 2 bit/s until 3, then 4.
    instance = small_instance(
        [{"arrival": 0.5, "user": 1}, {"arrival": 2}], [LOCAL, [{"up": 5}]], users=[{}, {}], accesses=[LINE],
        trace=[4, 1, 2], block=1, offset=np.array([[0], [1]]),
    )  # fmt: skip
    run = Run(instance)
    assert (run.forecast(1).rate, run.forecast(1).sent) == (1, 5.5)
    assert list(played(instance, [(1,), (1,)])["sent"]) == pytest.approx([2.625, 3.75])


def test_a_result_comes_down_across_blocks():
    # 2, 1, 4 bit/s in blocks of 1 s, down twice as fast. There and back with 0.25 s each: from 0.5 on, 2 bits until 1,
    # 2 until 2, and the last 2 at 8 bit/s until 2.25: 1.75 s x 2 W, and before 0.5 s x 4 W.
    instance = small_instance(
        at(0), [LOCAL, [{"down": 6}]], users=[{"receive_power": 2, "idle_power": 4}], trace=[2, 1, 4], block=1,
        accesses=[{"is_radio": False, "down_ratio": 2}], targets=[{"latency": 0.25}],
    )  # fmt: skip
    table = played(instance, [(1,)])
    assert list(table.loc[0, ["sent", "left", "down", "end", "energy"]]) == pytest.approx([0, 0.25, 0.5, 2.25, 5.5])
    # The forecast goes on at 4 bit/s: 1.5 s, until 2. The step is charged for what it was wrong by.
    run = Run(instance)
    forecast = run.forecast(1)
    assert (forecast.end, forecast.energy) == (2, 5)
    assert run.decide(1).costs == (2.25, 5.5, 0)


def test_a_shared_processor():
    # All at 0, of 1, 2 and 4 units: the sum of the others' work, but of each at most one's own: 1 + 1 + 1, 1 + 2 + 2,
    # ...
    options = [{"shared": 4}, {"shared": 1}, {"shared": 2}]
    table = played(small_instance(at(0, 0, 0), [LOCAL, options]), [(1, 0), (1, 1), (1, 2)])
    assert list(table["left"]) == pytest.approx([7, 3, 5])


def test_what_later_decisions_were_charged_for_is_not_charged_again():
    # 0, 3 units, does 1 in [0, 1]; 1, 1 unit, comes then: half the speed until it leaves, at 3; 0 leaves at 4.
    instance = small_instance(
        at(0, 1), [LOCAL, [{"shared": 3}, {"shared": 1}]], units=(2, 1), weights=(0.5, 0.25, 0.25)
    )
    assert list(played(instance, [(1, 0), (1, 1)])["end"]) == pytest.approx([4, 3])
    run = Run(instance)
    first = run.decide(1, 0)
    assert (first.costs, first.normalised, first.reward, first.done) == ((3, 0, 0), (1.5, 0, 0), -0.75, False)
    forecast = run.forecast(1, 1)
    assert (forecast.left, forecast.delay, forecast.imposed) == (3, 2, 1)
    second = run.decide(1, 1)
    assert (second.costs, second.reward, second.done) == ((3, 0, 0), -0.75, True)
    # What was realised is charged when it is known: nothing before 1, and then 4 s and 2 s.
    run = Run(instance, reward="realised")
    assert [run.decide(1, option).costs for option in (0, 1)] == [(0, 0, 0), (6, 0, 0)]


def test_first_come_first_served():
    # 2 units each: 0 reaches the server at 0, [0, 2]; 1 at 1, [2, 4]; 2 has none, reaches it at 1.5, but overtakes no
    # one.
    instance = small_instance(at(0, 1, 1.5), [LOCAL, [{"serial": 2}, {}]], servers=[{"speed": 1, "energy": 3}])
    run = Run(instance)
    run.decide(1, 0)
    assert run.forecast(1, 0).served == 4
    assert Run(instance).forecast(1, 0).imposed == 0
    table = played(instance, [(1, 0), (1, 0), (1, 1)])
    assert list(table["served"]) == list(table["end"]) == [2, 4, 4]
    assert list(table["energy"]) == [6, 6, 0]


def test_who_reaches_a_server_at_the_same_time_is_served_in_the_order_of_decisions():
    # 0 is sent in [0, 2] and 1 in [1, 2]; 2 arrives at 2, when both have reached the server. 1 unit each.
    instance = small_instance(
        [{"user": 1}, {"user": 0, "arrival": 1}, {"user": 2, "arrival": 2}],
        [LOCAL, [{"up": 2, "serial": 1}, {"up": 1, "serial": 1}, {"serial": 1}]],
        users=[{}] * 3,
    )
    assert list(played(instance, [(1, 0), (1, 1), (1, 2)])["served"]) == pytest.approx([3, 4, 5])


def test_a_batch():
    # 0.5 s + 0.25 s a request for each unit. 0 does one of 2 units in [0, 0.75]; 1, of 2 units, comes: both do one in
    # [0.75, 1.75]; 1 does the last alone in [1.75, 2.5].
    instance = small_instance(at(0, 0.75), [LOCAL, [{"shared": 2}]], servers=[{"fixed": 0.5, "per_job": 0.25}])
    run = Run(instance)
    run.decide(1)
    assert (run.forecast(1).left, run.forecast(1).imposed) == (2.5, 0.25)
    assert list(played(instance, [(1,), (1,)])["left"]) == pytest.approx([1.75, 2.5])


def test_serial_work_comes_before_shared_work():
    # 1 serial unit each: served at 1 and 2. Shared: 1 s a unit alone, 1.5 s in two. 0 does one of 2 units in [1, 2],
    # the other in [2, 3.5], in which 1 does one; and the other in [3.5, 4.5].
    instance = small_instance(at(0, 0), [LOCAL, [{"serial": 1, "shared": 2}]], servers=[{"fixed": 0.5, "per_job": 0.5}])
    table = played(instance, [(1,), (1,)])
    assert list(table["served"]) == [1, 2]
    assert list(table["left"]) == pytest.approx([3.5, 4.5])
    # At 0, the forecast for 1 is that 0 has all of its work left at 2: 2 + 0.5 x 2 + 0.5 x (2 + 2) = 5.
    run = Run(instance)
    assert run.decide(1).costs == (3, 0, 0)
    assert (run.forecast(1).left, run.forecast(1).imposed) == (5, 1)
    # Both were forecast to take longer than they do: 5 + 1, and for 0 3.5 - 3 - 1, and for 1 4.5 - 5.
    assert run.decide(1).costs == pytest.approx((5, 0, 0))


def test_a_forecast_takes_a_unit_as_it_is():
    # 0, 1 and 2 of 1, 4 and 4 units; at 1.5 each has done 0.5. 3 would be there at 3, with 3 units. By then each of the
    # three would have done another 0.5 (0 left, 3, 3): M = 6, left = 3 + 3 + 6 = 12, and 0 is not delayed.
    instance = small_instance(
        [*at(0, 0, 0), {"arrival": 1.5, "user": 1}],
        [LOCAL, [{"shared": 1}, {"shared": 4}, {"serial": 1.5, "shared": 3}]],
        users=[{}, {}],
    )
    run = Run(instance)
    for option in (0, 1, 1):
        run.decide(1, option)
    forecast = run.forecast(1, 2)
    assert (forecast.served, forecast.left, forecast.imposed) == pytest.approx((3, 12, 6))
    # 0, 1 and 2 share until 3, when 0 leaves; then 1, 2 and 3 have 3 units each: all leave at 12.
    table = played(instance, [(1, 0), (1, 1), (1, 1), (1, 2)])
    assert list(table["left"]) == pytest.approx([3, 12, 12, 12])


def test_a_forecast_counts_what_is_on_its_way():
    # User 0 sends 2 bits [0, 2], and then 1 [2, 3]; 3 serial units each. User 1, who has no bits, is there first.
    instance = small_instance(
        [{"user": 0}, {"user": 0}, {"user": 1}],
        [LOCAL, [{"up": 2, "serial": 3}, {"up": 1, "serial": 3}, {"serial": 1}]],
        users=[{}, {}],
        sharing="equal",
        accesses=[LINE],
    )
    run = Run(instance)
    run.decide(1, 0)
    # The user's own flow shares nothing with what it sends next: 1 bit/s, after 2 s. Served behind 3 units, from 3 on.
    second = run.forecast(1, 1)
    assert (second.rate, second.sent, second.served) == (1, 3, 6)
    run.decide(1, 1)
    # The other user shares with what is being sent now. All that is on its way to the server is served before.
    third = run.forecast(1, 0)
    assert (third.rate, third.sent, third.served) == (0.5, 4, 9)
    assert run.forecast(1, 2).served == 7
    assert list(played(instance, [(1, 0), (1, 1), (1, 2)])["served"]) == [5, 8, 1]


def test_a_forecast_lets_no_past_serve_those_to_come():
    # The server has been idle since 1 when 1 is decided at 4: its 2 units are done at 8 at the earliest, with 2 bits to
    # be sent before; 2, of another user, is behind it by forecast, though it is not in fact: 4 + 2 + 1.
    instance = small_instance(
        [{"user": 0}, {"user": 0, "arrival": 4}, {"user": 1, "arrival": 4}],
        [LOCAL, [{"serial": 1}, {"up": 2, "serial": 2}]],
        users=[{}, {}],
    )
    run = Run(instance)
    run.decide(1, 0)
    assert run.forecast(1, 1).served == 8
    run.decide(1, 1)
    assert run.forecast(1, 0).served == 7
    assert list(played(instance, [(1, 0), (1, 1), (1, 0)])["served"]) == [1, 8, 5]


def test_deadlines_and_errors():
    # 2 s each, one after the other: ends at 2, 4 and 6. A request may end at its deadline; and an answer may be spoilt.
    instance = small_instance(
        [{"deadline": 2}, {"deadline": 3.5}, {"deadline": 7}], [[{"local": 2, "error": 0.25}], [{"error": 0.5}]]
    )
    table = played(instance, [(0,)] * 3)
    assert list(table["missed"]) == [False, True, False]
    run = Run(instance)
    assert [run.decide(0).costs[2] for _ in range(3)] == [0.25, 1, 0.25]
    assert run.metrics() == {"delay": 4, "energy": 2, "missed": pytest.approx(1 / 3), "makespan": 6}
    assert Run(instance).forecast(1).error == 0.5


def test_a_miss_that_was_not_forecast():
    # 0 was to take 3 s, and has 3.5 s; 1 delays it by 1 s. The step of 1 has its own misses, 0, and that of 0.
    instance = small_instance([{"deadline": 3.5}, {"arrival": 1}], [LOCAL, [{"shared": 3}, {"shared": 1}]])
    run = Run(instance)
    assert [run.decide(1, option).costs for option in (0, 1)] == [(3, 0, 0), (3, 0, 1)]
    assert list(played(instance, [(1, 0), (1, 1)])["missed"]) == [True, False]


def test_one_decision_a_slot():
    # Slots of 1 s. Two requests at 0, one at 0.5: decided at 0, 1, 2; one at 4, in the slot that begins then; one at
    # 4.5.
    instance = small_instance(at(0, 0, 0.5, 4, 4.5), [LOCAL, [{"shared": 0.5}]])
    table = played(instance, [(1,)] * 5, epochs="slot", slot=1)
    assert list(table["decided"]) == [0, 1, 2, 4, 5]
    assert list(table["delay"]) == [0.5, 1.5, 2, 0.5, 1]


def test_a_decision_waits_for_room():
    # Room for two. 0 and 1 share until 4; 2 arrives at 1, and 3 at 2: when both have left, at 4, they are decided. What
    # is computed at home takes no room, but waits for its turn.
    instance = small_instance(at(0, 0, 1, 2, 3), [LOCAL, [{"shared": 2}]])
    table = played(instance, [(1,), (1,), (0,), (1,), (1,)], room=2)
    assert list(table["decided"]) == [0, 0, 4, 4, 4]
    assert list(table["end"]) == pytest.approx([4, 4, 5, 8, 8])


def test_slots_go_on_after_a_decision_that_waited():
    # Slots of 2 s and room for one. 0 is there in [0, 3]; the turn of 1 is at 2, but it is decided at 3; that of 2 at
    # 4, but 1 is there until 6, when there is room: not in the next slot after that, but then. That of 3 is at 8.
    instance = small_instance(at(0, 0, 0, 0), [LOCAL, [{"shared": 3}, {"shared": 0.5}]])
    table = played(instance, [(1, 0), (1, 0), (1, 1), (1, 1)], epochs="slot", slot=2, room=1)
    assert list(table["decided"]) == pytest.approx([0, 3, 6, 8])


def test_a_request_in_two_parts():
    # Half of a request of size 2 and work 4. At home: 1 + 2 + 2 x 1^2 + 3 = 8 units at 2 x 2 units/s [0, 2], 1 J x 2^2
    # each. Away: 2 + 1 x 4 = 6 bits with 3 W at 2 bit/s [0, 3]; 1 x 1 + 0.5 x 2 = 2 units [3, 5]; 4 bits [5, 9].
    instance = small_instance(
        at(0, size=2, work=4),
        [[{"local": [1, 2, 2, 1.5]}], [{"local": 99, "up": [2, 4], "shared": [0, 1, 0, 0.5], "down": [0, 0, 2]}]],
        users=[{"speed": 2, "energy": 1, "power": 99, "idle_power": 0.5, "receive_power": 0.25}],
    )
    table = played(instance, [(1, 0.5, 3, 2)], continuous=True)
    assert list(table.loc[0, ["ready", "begin_send", "sent", "left", "end"]]) == pytest.approx([0, 0, 3, 5, 9])
    assert table.loc[0, "energy"] == pytest.approx(32 + 9 + 0.5 * 2 + 0.25 * 4)
    assert list(table.loc[0, ["power", "fraction", "speed_factor"]]) == [3, 0.5, 2]
    forecast = Run(instance, continuous=True).forecast_parts(1, 0.5, 3, 2)
    assert (forecast.done, forecast.sent, forecast.end) == pytest.approx((2, 3, 9))


def test_a_part_may_be_all_or_nothing():
    # All away: 2 + 8 bits at 2 bit/s [0, 5], 3 units [5, 8]. All at home, at half the speed: 4 units at 0.5 units/s,
    # twice, [0, 8] and [8, 16], a quarter of 4 x 2 J. A split waits at home, from 16 to 18 at full speed, but not away:
    # its 6 bits are sent at once, after the 10 bits, [5, 8]; it has 3 units away, [8, 11].
    instance = small_instance(
        at(0, 0, 0, 0, size=2),
        [[{"local": [0, 2], "error": 0.25}], [{"up": [2, 4], "shared": 3, "error": 0.5}]],
        users=[{"energy": 2}],
    )
    table = played(instance, [(1, 1, 3, 1), (0, 0, 3, 0.5), (1, 0, 3, 0.5), (1, 0.5, 3, 1)], continuous=True)
    assert list(table["target"]) == [1, 0, 0, 1]
    assert list(table["ready"]) == [0, 8, 16, 0]
    assert list(table["end"]) == pytest.approx([8, 8, 16, 18])
    assert list(table["energy"]) == pytest.approx([15, 2, 2, 9 + 4])
    assert list(table["error"]) == [0.5, 0.25, 0.25, 0.5]
    assert list(table["fraction"]) == [1, 0, 0, 0.5]


def test_what_is_wrong_with_a_decision_is_said():
    instance = small_instance(at(0), [[{"local": 1}], [{"exists": False}, {}]])
    for target, option in [(1, 0), (0, 1), (2, 0), (1, 2), (-1, 0), (1, -1)]:
        with pytest.raises(HetgymError, match=f"no option {option} of target {target}"):
            Run(instance).decide(target, option)
    run = Run(instance)
    run.decide(1, 1)
    with pytest.raises(HetgymError, match="all requests are decided"):
        run.forecast(1, 1)
    with pytest.raises(HetgymError, match="decide_parts"):
        Run(instance, continuous=True).decide(0)
    with pytest.raises(HetgymError, match="decided whole"):
        Run(instance).decide_parts(0, 0, 1, 1)
    for part in [(0, 0.5, 1, 1), (0, -0.5, 1, 1), (0, 0, 0, 1), (0, 0, 1, 0), (0, 0, 1, math.inf), (0, math.nan, 1, 1)]:
        with pytest.raises(HetgymError, match="it should be"):
            Run(instance, continuous=True).decide_parts(*part)
    with pytest.raises(HetgymError, match="slot is inf"):
        Run(instance, epochs="slot")
    with pytest.raises(HetgymError, match="room is 0"):
        Run(instance, room=0)
