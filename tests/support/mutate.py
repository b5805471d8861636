"""Put faults into a copy of the project, one at a time, and see which of them the tests catch.

python tests/support/mutate.py                    # all faults of faults.yaml
python tests/support/mutate.py --only training    # those whose file or text contains the word

A fault names a file, a text that stands in it once, what replaces it, and the tests that should notice. It is killed if
they fail. Prints one line a fault and the score, and ends with 1 if fewer than nine of ten are killed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
FAULTS = Path(__file__).with_name("faults.yaml")
COPIED = ("pipeline", "scripts", "tests", "benchmarks", "accelerate_configs", "docs", "pyproject.toml", "README.md")
GOAL = 0.9
TIMEOUT_SECONDS = 900  # a test that hangs has noticed the fault


def verdict(fault: dict[str, str]) -> str:
    """`killed`, `survived`, or why neither can be said."""
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in COPIED:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
            elif source.exists():
                shutil.copy(source, copy / name)
        path = copy / fault["file"]
        text = path.read_text(encoding="utf-8")
        if text.count(fault["before"]) != 1:
            return f"stale: its text stands {text.count(fault['before'])} times in the file"
        path.write_text(text.replace(fault["before"], fault["after"]), encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "-x", "-m", "slow or not slow"]
        environment = {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            code = subprocess.run(
                [*command, *fault["tests"].split()],
                cwd=copy,
                env=environment,
                capture_output=True,
                timeout=TIMEOUT_SECONDS,
                check=False,
            ).returncode
        except subprocess.TimeoutExpired:
            return "killed"
        return {0: "survived", 1: "killed"}.get(code, f"stale: pytest ended with {code}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="Only faults whose file or text contains this.")
    parser.add_argument("--jobs", type=int, default=2, help="Faults at a time.")
    options = parser.parse_args()
    faults = [one for one in yaml.safe_load(FAULTS.read_text(encoding="utf-8")) if options.only in str(one)]
    killed = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for fault, said in zip(faults, pool.map(verdict, faults), strict=True):
            killed += said == "killed"
            print(f"{said:<9} {fault['file']}: {fault['before'].strip()!r} -> {fault['after'].strip()!r}", flush=True)
    print(f"{killed} of {len(faults)} killed ({killed / len(faults):.0%})")
    sys.exit(killed < GOAL * len(faults))


if __name__ == "__main__":
    main()
