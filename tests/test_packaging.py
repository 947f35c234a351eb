"""The package: its list of folders, the direction of its imports, and the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
OUTSIDE = {"tests", "docs", "examples", "benchmarks", "build", "dist"}


def run(*command: object, cwd: Path | None = None) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}:\n{done.stdout}{done.stderr}"
    return done.stdout


def package_folders() -> set[str]:
    """Folders of the repository that hold code or data of the package."""
    kept = {".py", ".yaml"}
    files = [path.relative_to(ROOT) for path in ROOT.rglob("*") if path.suffix in kept and path.is_file()]
    inside = [
        path
        for path in files
        if not path.parts[0].startswith(".") and path.parts[0] not in OUTSIDE | {"demo-output", "runs"}
    ]
    return {".".join(("hetgym", *path.parts[:-1])) for path in inside}


def test_pyproject_lists_every_folder() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    assert set(settings["packages"]) == package_folders()
    for folder in package_folders():
        path = ROOT.joinpath(*folder.split(".")[1:])
        has_data = any(path.glob("*.yaml"))
        assert has_data == ("*.yaml" in settings["package-data"].get(folder, [])), folder


def test_import_hetgym_does_not_import_torch() -> None:
    code = (
        "import sys, hetgym; assert 'torch' not in sys.modules; import hetgym.envs; assert 'torch' not in sys.modules"
    )
    run(sys.executable, "-c", code)


def test_compiled_code_is_found_again_only_if_no_kernel_has_changed() -> None:
    """The cache of compiled kernels is named after a hash of some folders: no kernel may be outside."""
    from hetgym.compilation import KERNEL_FOLDERS

    decorated = re.compile(r"^@(kernel|inner|rare|handle_kernel|formula)\b", re.MULTILINE)
    for folder in ("hardware_models", "workloads", "envs", "agents", "evaluate", "train"):
        for path in (ROOT / folder).rglob("*.py"):
            if decorated.search(path.read_text()):
                assert any(path.is_relative_to(ROOT / known) for known in KERNEL_FOLDERS), path


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a clean export of what git tracks (in its present state)."""
    export, out = tmp_path_factory.mktemp("export"), tmp_path_factory.mktemp("wheel")
    for name in run("git", "ls-files", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            target = export / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, export)
    return next(out.glob("*.whl"))


def test_installed_wheel_plays_an_episode_from_another_directory(wheel: Path, tmp_path: Path) -> None:
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--quiet", wheel)
    # The dependencies are those of the environment that runs the tests; hetgym itself is the wheel's.
    site = run(python, "-c", "import site; print(site.getsitepackages()[0])").strip()
    dependencies = run(sys.executable, "-c", "import site; print(site.getsitepackages()[0])").strip()
    (Path(site) / "dependencies.pth").write_text(dependencies + "\n")
    script = """
import gymnasium, hetgym, sys
assert hetgym.__file__.startswith(sys.prefix), hetgym.__file__
env = gymnasium.make("hetgym/TaskGraphPlan-v0", scenario="peft-paper")
observation, info = env.reset(seed=0)
terminated = False
while not terminated:
    action = int(observation["action_mask"].argmax())
    observation, reward, terminated, truncated, info = env.step(action)
assert info["metrics"]["heft_makespan"] == 133.0
from hetgym.hardware_models import list_platforms, load_platform
assert all(load_platform(name) for name in list_platforms())
print("played")
"""
    assert run(python, "-c", script, cwd=tmp_path).strip() == "played"
    assert "heft-paper" in run(environment / "bin" / "hetgym", "list", "scenarios", cwd=tmp_path)
    files = run(sys.executable, "-m", "zipfile", "--list", wheel)
    assert "hetgym/py.typed" in files
    for folder in (ROOT / "agents" / "pretrained").glob("*/card.json"):
        assert f"hetgym/agents/pretrained/{folder.parent.name}/policy.safetensors" in files
    assert "tests/" not in files
