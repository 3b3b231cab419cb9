"""What the repository says about itself is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest
from packaging.requirements import Requirement

import asyncdb_nb

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.second_tier
def test_the_example_of_the_readme_runs(run_script: Callable[..., CompletedProcess[str]]) -> None:
    example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    seeded = """
import asyncio, os
from asyncdb_nb import connect
from asyncdb_nb.workflows import ensure_sample

async def seed():
    await ensure_sample(await connect())
asyncio.run(seed())
"""
    run_script(seeded)
    output = run_script(example).stdout

    assert len(example.splitlines()) <= 12
    assert re.search(r"succeeded\s+\d+", output)
    assert "failed_runs" in output


def test_the_commands_of_the_readme_name_what_exists() -> None:
    commands = re.findall(r"```bash\n(.*?)```", README, re.DOTALL)[:2]

    assert [re.findall(r'-e "\.\[(\w+)\]"', command) for command in commands] == [["lab"], ["test"]]
    assert "bin/asyncdb-nb tour" in commands[0]
    assert "bin/pytest" in commands[1]
    assert {"lab", "test"} <= PROJECT["optional-dependencies"].keys()


def test_the_links_of_the_readme_lead_somewhere() -> None:
    targets = [target.partition("#")[0] for target in re.findall(r"\]\(([^)]+)\)", README)]

    assert not [target for target in targets if "://" not in target and not (ROOT / target).exists()]


def test_the_conda_environment_is_in_step_with_the_project() -> None:
    lines = (ROOT / "environment.yml").read_text(encoding="utf-8").splitlines()
    conda = {line.strip(" -") for line in lines if line.startswith("  - ")}
    wanted = {re.sub(r"\[\w+\]", "", requirement) for requirement in PROJECT["dependencies"]}
    wanted -= {each for each in wanted if each.startswith("pgpq")}  # which pip brings, with the package itself

    assert conda - {"conda-forge", "greenlet", "pip", "pip:"} == wanted | {f"python{PROJECT['requires-python']}"}
    assert "      - -e .[test]" in lines


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["version"] == asyncdb_nb.__version__


@pytest.mark.second_tier
def test_the_wheel_has_the_package_and_the_lessons_and_shows_them_anywhere(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path], cwd=ROOT, check=True)
    (file,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(file) as wheel:
        wheel.extractall(tmp_path / "installed")
    files = {path.relative_to(tmp_path / "installed") for path in (tmp_path / "installed").rglob("*") if path.is_file()}
    tour = subprocess.run(
        [sys.executable, "-m", "asyncdb_nb.cli", "tour", "--list"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "installed")},
        capture_output=True,
        text=True,
        check=True,
    )

    package = {
        path.relative_to(ROOT) for path in (ROOT / "asyncdb_nb").rglob("*") if path.suffix in {".py", ".typed", ".js"}
    }
    lessons = {Path("asyncdb_nb") / path.relative_to(ROOT) for path in (ROOT / "notebooks").rglob("*.ipynb")}
    checkpoints = {path for path in lessons if ".ipynb_checkpoints" in path.parts}
    assert {path for path in files if path.parts[0] == "asyncdb_nb"} == package | lessons - checkpoints
    assert len(tour.stdout.splitlines()) == len({path for path in lessons if path.parent.name == "notebooks"})


def test_the_lowest_versions_that_ci_tests_are_those_that_are_allowed() -> None:
    """A lower bound in pyproject.toml is what is really tested, of every dependency."""
    script = [sys.executable, str(ROOT / ".ci/lowest.py")]

    tested = subprocess.run(script, capture_output=True, text=True, check=True).stdout.splitlines()

    wanted = [re.sub(r"\[\w+\]|;.*", "", requirement).replace(">=", "==") for requirement in PROJECT["dependencies"]]
    assert set(wanted) <= set(tested)


def test_installing_on_colab_replaces_nothing() -> None:
    """What Colab has is within the bounds of every dependency; `.ci/run` runs the tests of notebooks with it."""
    pins = (ROOT / ".ci/colab.txt").read_text(encoding="utf-8")
    has = dict(re.findall(r"^([\w-]+)==([\d.]+)$", pins, re.MULTILINE))
    wanted = [Requirement(requirement) for requirement in PROJECT["dependencies"]]

    assert {"ipykernel", "pandas", "pyarrow", "sqlalchemy"} <= {one.name for one in wanted} & has.keys()
    assert not [str(one) for one in wanted if one.name in has and not one.specifier.contains(has[one.name])]
