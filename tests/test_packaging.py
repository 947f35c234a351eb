"""The package: its list of folders, the direction of its imports, the sdist and the wheel."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
from packaging.metadata import Metadata

import hetgym

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
        has_data = any(path.glob("[!.]*.yaml"))
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
def built(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The sdist of a clean export of what git tracks (in its present state), and the wheel that is built from it."""
    export, out = tmp_path_factory.mktemp("export"), tmp_path_factory.mktemp("built")
    for name in run("git", "ls-files", cwd=ROOT).splitlines():
        if (ROOT / name).is_file():
            target = export / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    # Neither --sdist nor --wheel: the wheel then comes from the sdist, so the sdist holds all that it needs.
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, export)
    return {"sdist": next(out.glob("*.tar.gz")), "wheel": next(out.glob("*.whl"))}


def test_sdist_holds_the_sources_and_the_tests(built: dict[str, Path]) -> None:
    with tarfile.open(built["sdist"]) as archive:
        files = {name.partition("/")[2] for name in archive.getnames()}
    tracked = set(run("git", "ls-files", cwd=ROOT).splitlines())
    kept = {name for name in tracked if name.endswith(".py") and name.split("/")[0] not in {"benchmarks", "docs"}}
    assert kept <= files
    assert {"LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "Makefile", "constraints.txt"} <= files
    assert not {name for name in files if name.startswith(("docs", "benchmarks", ".")) or name.endswith(".pyc")}
    assert built["sdist"].stat().st_size < 5e6


def test_metadata_is_what_an_index_takes(built: dict[str, Path]) -> None:
    with zipfile.ZipFile(built["wheel"]) as archive:
        content = archive.read(next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA")))
    # Strict: every field is known, has a valid value, and is allowed by the version of the metadata.
    metadata = Metadata.from_email(content, validate=True)
    assert str(metadata.version) == hetgym.__version__
    assert metadata.license_expression == "MIT"
    assert metadata.description_content_type == "text/markdown"
    assert metadata.description == (ROOT / "README.md").read_text()
    assert set(metadata.provides_extra or ()) >= {"oracle", "capture", "morl", "dev"}


EPISODE = """
import gymnasium, hetgym
from hetgym.hardware_models import list_platforms, load_platform
env = gymnasium.make("hetgym/Offload-v0", scenario="mec-droo")
observation, info = env.reset(seed=0)
terminated = False
while not terminated:
    action = int(observation["action_mask"].argmax())
    observation, reward, terminated, truncated, info = env.step(action)
print(info["metrics"], [load_platform(name).name for name in list_platforms()])
"""
"""Of the scenario whose kernels compile soonest: where a package is installed anew, they always compile."""


def test_installed_wheel_plays_what_the_sources_play(
    built: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = built["wheel"]
    monkeypatch.delenv("PYTHONPATH", raising=False)
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    run(python, "-m", "pip", "install", "--no-deps", "--quiet", wheel)
    # The dependencies are those of the environment that runs the tests; hetgym itself is the wheel's.
    site = run(python, "-c", "import site; print(site.getsitepackages()[0])").strip()
    dependencies = run(sys.executable, "-c", "import site; print(site.getsitepackages()[0])").strip()
    (Path(site) / "dependencies.pth").write_text(dependencies + "\n")
    assert run(python, "-c", EPISODE, cwd=tmp_path) == run(sys.executable, "-c", EPISODE, cwd=ROOT / "tests")
    where = run(python, "-c", "import hetgym; print(hetgym.__file__)", cwd=tmp_path)
    assert where.startswith(str(environment))
    assert "heft-paper" in run(environment / "bin" / "hetgym", "list", "scenarios", cwd=tmp_path)
    usage = run(environment / "bin" / "hetgym", "--help", cwd=tmp_path)
    assert all(f" {command} " in usage for command in ("list", "train", "evaluate", "trace"))
    files = run(sys.executable, "-m", "zipfile", "--list", wheel)
    assert "hetgym/py.typed" in files
    assert "hetgym/evaluate/report/templates/report.html" in files
    for folder in (ROOT / "agents" / "pretrained").glob("*/card.json"):
        assert f"hetgym/agents/pretrained/{folder.parent.name}/policy.safetensors" in files
    assert not re.search(r"hetgym/(tests|examples|docs|benchmarks)/", files)
