"""Launchers: what is done elsewhere is the same to the bit, and what dies is done again."""

from __future__ import annotations

import importlib.util
import operator
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hetgym import HetgymError
from hetgym.cli import main
from hetgym.envs import load_scenario
from hetgym.evaluate.cells import TIMES, Cell, cells_of
from hetgym.evaluate.launchers import LocalLauncher, make_launcher

MODULE = """
import os
import time
from pathlib import Path
from hetgym.agents import make_policy

def patient():
    time.sleep(0.5)
    return make_policy("heft")

def mortal(path):
    lives = Path(path).read_text()
    if lives:
        Path(path).write_text(lives[1:])
        os._exit(1)
    return os.getcwd()
"""
CELLS = 6

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder to work in, with a module in it, as a user has."""
    folder, before = tmp_path_factory.mktemp("workplace"), Path.cwd()
    (folder / "users_own.py").write_text(MODULE)
    contest = {"scenario": "random", "set": {"num_tasks": 6}, "policies": ["mct", "users_own:patient"]}
    suite = {"name": "mine", "episodes": 64 * CELLS // 2, "contests": [contest]}
    (folder / "mine.yaml").write_text(yaml.safe_dump(suite))
    os.chdir(folder)
    sys.path.append(str(folder))
    yield folder
    sys.path.remove(str(folder))
    os.chdir(before)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A cluster of a head that does no work, and two nodes of one CPU, all on this machine."""
    importlib.import_module("hetgym.evaluate.launch_ray")  # before Ray itself, which it tells to be silent
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    for _ in range(2):
        cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
    yield cluster
    cluster.shutdown()


def test_local_work_is_done_in_order() -> None:
    assert list(LocalLauncher().run(operator.neg, [3, 1, 2])) == [(3, -3), (1, -1), (2, -2)]


def test_processes_give_the_same_as_one() -> None:
    cells = [cell for name in ("heft", "mct") for cell in cells_of(load_scenario("random", num_tasks=6), name, 3, 0)]
    alone = [table for _, table in LocalLauncher().play(cells)]
    together = {cell.key: table for cell, table in LocalLauncher(2).play(cells)}
    assert len(together) == len(cells)
    for cell, table in zip(cells, alone, strict=True):
        assert together[cell.key].drop(columns=TIMES).equals(table.drop(columns=TIMES))


@pytest.mark.parametrize(
    ("function", "item", "message"),
    [(load_scenario, "nope", "unknown scenario 'nope'"), (os._exit, 1, "workers: a process died")],
)
def test_what_goes_wrong_in_a_process_is_said_in_one_line(function: Any, item: Any, message: str) -> None:
    with pytest.raises(HetgymError, match=message) as caught:
        list(LocalLauncher(2).run(function, [item]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("moon",), "unknown launcher 'moon': choose one of local, ray"),
        (("local", "auto"), "address: is that of a Ray cluster"),
        (("local", None, 0), "workers: must be at least 1"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: tuple[Any, ...], message: str) -> None:
    with pytest.raises(HetgymError, match=message):
        make_launcher(*options)


@pytest.mark.parametrize(("command", "option"), [("evaluate", "--suite"), ("train", "--seeds")])
def test_options_are_for_what_has_many_parts(command: str, option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--workers", "2"])
    assert f"workers: is for {option}" in capsys.readouterr().err


def test_a_missing_ray_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "hetgym.evaluate.launch_ray", raising=False)
    with pytest.raises(HetgymError, match=r"pip install 'hetgym\[ray\]'"):
        make_launcher("ray")


@needs_ray
@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:1", "silent"])
def test_addresses_that_do_not_answer_are_given_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hetgym.evaluate.launch_ray.PATIENCE", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = f"127.0.0.1:{server.getsockname()[1]}" if address == "silent" else address
        begin = time.monotonic()
        with pytest.raises(HetgymError, match="address: ") as caught:
            list(make_launcher("ray", place).run(operator.neg, [1]))
    assert time.monotonic() - begin < 20
    assert "\n" not in str(caught.value)


@needs_ray
def test_where_nothing_is_to_be_done_nothing_is_started() -> None:
    assert list(make_launcher("ray", "127.0.0.1:1").play(list[Cell]())) == []


@needs_ray
def test_what_goes_wrong_on_a_node_is_said_in_one_line(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    launcher = make_launcher("ray", cluster.address)
    with pytest.raises(HetgymError, match="unknown scenario 'nope'") as caught:
        list(launcher.run(load_scenario, ["nope"]))
    assert "\n" not in str(caught.value)
    monkeypatch.setattr("hetgym.evaluate.launch_ray.code_version", lambda: "another")
    with pytest.raises(HetgymError, match="another version of hetgym"):
        list(launcher.run(load_scenario, ["random"]))


@needs_ray
def test_workers_that_die_are_replaced(cluster: Any, workplace: Path) -> None:
    from hetgym.evaluate.launch_ray import RayLauncher

    mortal = importlib.import_module("users_own").mortal
    lives = workplace / "lives"
    lives.write_text("xx")  # Ray tries twice, and so does the driver
    assert list(RayLauncher(cluster.address, retries=1).run(mortal, [lives])) == [(lives, str(workplace))]
    lives.write_text("x")
    with pytest.raises(HetgymError, match="workers died again and again"):
        list(RayLauncher(cluster.address, retries=0).run(mortal, [lives]))


@needs_ray
def test_a_suite_is_the_same_to_the_bit_with_a_node_killed(
    cluster: Any, workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unfinished: list[int] = []

    def kill() -> None:
        while len(list(workplace.glob("ray/cells/*.parquet"))) < 2:
            time.sleep(0.02)
        cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)
        unfinished.append(CELLS - len(list(workplace.glob("ray/cells/*.parquet"))))

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    command = ["evaluate", "--suite", "mine.yaml", "--output"]
    main([*command, "ray", "--launcher", "ray", "--address", cluster.address])
    killer.join(1)
    assert unfinished[0] > 0
    assert "raylet" not in capsys.readouterr().out
    main([*command, "local"])
    kept = sorted(Path("local/cells").iterdir())
    assert len(kept) == CELLS
    assert [path.name for path in kept] == sorted(path.name for path in Path("ray/cells").iterdir())
    for path in [*kept, Path("local/results.parquet")]:
        assert path.read_bytes() == Path("ray", path.relative_to("local")).read_bytes()
