"""What the repository says about itself is true."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import asyncdb_nb

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")


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

    assert conda - {"conda-forge", "greenlet", "pip", "pip:"} == wanted | {f"python{PROJECT['requires-python']}"}
    assert "      - -e .[test]" in lines


def test_the_version_is_the_same_everywhere() -> None:
    assert PROJECT["version"] == asyncdb_nb.__version__
