"""Benchmarks, examples and what draws the documentation's pictures: each can be imported, and then does nothing."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RUN_AT_ONCE = {"sb3_ppo.py"}
"""What has ten lines and no room for more; it has a test of its own."""
SCRIPTS = sorted(path for folder in ("benchmarks", "examples") for path in (ROOT / folder).glob("*.py"))
SCRIPTS = [*(path for path in SCRIPTS if path.name not in RUN_AT_ONCE), ROOT / "docs" / "pictures.py"]
PEERS = {"libcachesim", "mo_gymnasium", "morl_baselines"}
"""What only extras install."""


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_script_can_be_imported(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its path, as the interpreter finds it: beside its neighbours."""
    assert '\nif __name__ == "__main__":\n' in path.read_text()
    monkeypatch.syspath_prepend(path.parent)
    spec = importlib.util.spec_from_file_location(f"script_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look for it
    try:
        spec.loader.exec_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in PEERS:
            raise
        pytest.skip(f"needs {error.name}")
    assert capsys.readouterr().out == ""
