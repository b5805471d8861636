"""Print the lowest version of every direct dependency, as pip's constraints: python .ci/lowest.py > constraints.txt"""

import re
import tomllib
from pathlib import Path

project = tomllib.loads(Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8"))["project"]
requirements = [*project["dependencies"], *project["optional-dependencies"]["test"]]
for requirement in requirements:
    if bound := re.match(r"([\w.-]+)[^>=]*[>=]=([\w.]+)", requirement):
        print(f"{bound[1]}=={bound[2]}")
