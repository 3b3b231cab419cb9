"""Print the lowest versions that pyproject.toml allows as constraints for pip, `name==version`, one a line."""

import re
import tomllib
from pathlib import Path

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
extras = project["optional-dependencies"]
requirements = [*project["dependencies"], *extras["server"], *extras["lab"], *extras["test"]]
bounds = [re.match(r"([\w.-]+)(?:\[[\w,]+\])?>=([\d.]+)", requirement) for requirement in requirements]
for name, version in sorted({found.groups() for found in bounds if found}):
    print(f"{name}=={version}")
print("pyparsing<3.3")  # of which the lowest matplotlib uses names that are deprecated since
