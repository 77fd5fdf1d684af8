# SPDX-License-Identifier: Apache-2.0
"""How long `hamictl ... mig plan -o json` takes beside a one-command typer program, as whole processes in turn.

Run: .venv/bin/python benchmarks/startup.py [--runs 15]
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

AIM = 2.5
HELLO = """
import typer

app = typer.Typer()


@app.command()
def hello(name: str = "world") -> None:
    print(f"hello {name}")


app()
"""
PLAN = ["--sim", "8xH100-80GB-SXM5", "mig", "plan", "--mem", "8000", "--count", "2", "-o", "json"]


def seconds(command: list[str]) -> float:
    """The wall time of one run."""
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def main() -> None:
    """Measure pair by pair, so that a drifting machine moves both; print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    with tempfile.TemporaryDirectory() as folder:
        hello = Path(folder) / "hello.py"
        hello.write_text(HELLO, encoding="utf-8")
        baseline = [sys.executable, str(hello)]
        plan = [str(Path(sys.executable).with_name("hamictl")), *PLAN]
        pairs = [(seconds(baseline), seconds(plan)) for _ in range(runs + 1)][1:]
    report = {
        "runs": runs,
        "typer hello-world, median ms": round(1000 * statistics.median(hello for hello, _ in pairs), 1),
        "hamictl mig plan, median ms": round(1000 * statistics.median(plan for _, plan in pairs), 1),
        "ratio, median of pairs": round(statistics.median(plan / hello for hello, plan in pairs), 2),
        "aim": f"at most {AIM}",
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
