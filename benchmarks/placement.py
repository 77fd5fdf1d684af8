# SPDX-License-Identifier: Apache-2.0
"""How many requests each placement policy accepts, over mixes, node sizes, loads and boards.

    python benchmarks/placement.py [--quick] [--board NAME ...] [--seeds N] [--length N] [-o table|json]

Every row replays the same traces under every policy; differences are paired by seed and come with their standard
error. `bound` is the better of two policies that may move running instances inside a GPU, which no policy without
moves can do; it still takes what it can, greedily, and is therefore no strict upper bound.
Decisions drawn from it: docs/decisions/0003-packed-placement.md.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

from placement_policies import asks_of, policies_of
from placement_trace import KINDS, MIXES, Accepted, Row, replay, trace_of

from hamid.core.hardware.board import board_of
from hamid.testing.boards import profiles_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

OURS = "packed"
_PRIMARY = "A100-40GB"
_OTHERS = ("A30-24GB", "H100-80GB-SXM5", "RTX-PRO-6000-Blackwell-96GB")
_LOADS = (0.7, 0.85, 1.0, 1.2)
_GPUS = (1, 8, 64)
# Beyond this many standard errors a difference is called one; 2 would call one in twenty equal pairs different.
_SIGNIFICANT = 3.0


def rows_of(boards: Sequence[str], *, quick: bool) -> list[Row]:
    """The whole grid for requests by memory on the first board; by name, and on other boards, two of the loads."""
    rows: list[Row] = []
    for board in boards:
        for named in (False, True) if board == _PRIMARY else (False,):
            loads = _LOADS if board == _PRIMARY and not named else (0.85, 1.2)
            rows += [
                Row(board, named, mix, gpus, load)
                for mix in MIXES
                for gpus in ((1, 8) if quick else _GPUS)
                for load in ((1.0,) if quick else loads)
            ]
    return rows


def measure(row: Row, seeds: int, length: int) -> dict[str, list[Accepted]]:
    """Each policy's acceptance for each seed."""
    board = board_of(profiles_of(row.board))
    asks = asks_of(board, named=row.named)
    policies = policies_of(row.board, asks)
    found: dict[str, list[Accepted]] = {name: [] for name in policies}
    for seed in range(seeds):
        trace = trace_of(row, asks, board.axis, length, seed)
        for name, policy in policies.items():
            found[name].append(replay(policy, trace, row.gpus, asks))
    return found


def with_bound(found: dict[str, list[Accepted]]) -> dict[str, list[Accepted]]:
    """The two repacking policies replaced by the one that accepts more requests on this row."""
    repacking = {name: found[name] for name in found if name.startswith("repack-")}
    best = max(repacking.values(), key=lambda each: statistics.fmean(accepted.count for accepted in each))
    return {**{name: each for name, each in found.items() if name not in repacking}, "bound": best}


def summary(row: Row, found: dict[str, list[Accepted]]) -> dict[str, Any]:
    """Means per policy, and ours minus each other with the standard error of the paired difference."""
    ours = found[OURS]
    return {
        **row._asdict(),
        "accepted": {
            name: {kind: round(statistics.fmean(getattr(a, kind) for a in each), 3) for kind in KINDS}
            for name, each in found.items()
        },
        "ours_minus": {
            name: {kind: _difference(ours, each, kind) for kind in KINDS}
            for name, each in found.items()
            if name != OURS
        },
    }


def _difference(ours: list[Accepted], theirs: list[Accepted], kind: str) -> dict[str, float]:
    pairs = [getattr(a, kind) - getattr(b, kind) for a, b in zip(ours, theirs, strict=True)]
    error = statistics.stdev(pairs) / len(pairs) ** 0.5
    return {"mean": round(statistics.fmean(pairs), 3), "standard_error": round(error, 3)}


def below(results: list[dict[str, Any]], kind: str, *, bound: bool = False) -> Iterator[str]:
    """Rows on which ours is beyond the error below another policy, or more than half a point below the bound."""
    for result in results:
        for name, difference in result["ours_minus"].items():
            mean, error = difference[kind]["mean"], difference[kind]["standard_error"]
            worse = mean < -0.5 if bound else mean < -_SIGNIFICANT * error and mean < -0.005
            if (name == "bound") is bound and worse:
                row = Row(*(result[field] for field in Row._fields))
                yield f"{row}  {name} {mean:+.2f} ± {error:.2f}"


def print_table(results: list[dict[str, Any]]) -> None:
    """Acceptance of ours and the paired differences, by count and by slices, then where the aims are missed."""
    others = list(dict.fromkeys(name for result in results for name in result["ours_minus"]))
    for kind in KINDS:
        print(f"\nacceptance by {kind} in percent: ours, and ours minus each ± standard error")
        print(f"{'board':14} {'asks':6} {'mix':8} gpu  load   ours" + "".join(f"{name:>16}" for name in others))
        for result in results:
            cells = [_cell(result["ours_minus"].get(name), kind) for name in others]
            row = Row(*(result[field] for field in Row._fields))
            print(f"{row} {result['accepted'][OURS][kind]:6.2f}" + "".join(f"{cell:>16}" for cell in cells))
    for kind in KINDS:
        for title, bound in ((f"below another policy beyond {_SIGNIFICANT:g} errors", False), ("off the bound", True)):
            lines = list(below(results, kind, bound=bound))
            print(f"\nby {kind}, {title}: {len(lines)} of {len(results)} rows" + "".join(f"\n  {x}" for x in lines))


def _cell(differences: dict[str, dict[str, float]] | None, kind: str) -> str:
    if differences is None:
        return "-"
    return f"{differences[kind]['mean']:+.2f} ± {differences[kind]['standard_error']:.2f}"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a smoke run of some seconds")
    parser.add_argument("--board", action="append", help="only this board; may be repeated")
    parser.add_argument("--seeds", type=int, help="traces per row, at least 2")
    parser.add_argument("--length", type=int, help="counted arrivals per trace")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    return parser.parse_args()


def main() -> int:
    """Measure every row and report."""
    chosen = arguments()
    seeds = max(2, chosen.seeds or (3 if chosen.quick else 10))
    length = chosen.length or (1500 if chosen.quick else 5000)
    rows = rows_of(chosen.board or [_PRIMARY, *_OTHERS], quick=chosen.quick)
    begun = time.monotonic()
    results = []
    for number, row in enumerate(rows, 1):
        results.append(summary(row, with_bound(measure(row, seeds, length))))
        print(f"\r{number}/{len(rows)}  {row}  {time.monotonic() - begun:4.0f} s", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if chosen.output == "json":
        json.dump({"seeds": seeds, "length": length, "rows": results}, sys.stdout, indent=1)
    else:
        print_table(results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
