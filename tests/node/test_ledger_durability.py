# SPDX-License-Identifier: Apache-2.0
"""A change of the ledger is on disk when the method that makes it returns."""

import subprocess
import sys

from hamid.node.paths import Paths

# Writes a line after each change of the ledger.
CHANGES = """
import sys
from hamid.core.claims.claim import ClaimedSeat, InstanceKey, OwnInstance
from hamid.core.claims.journal import EntryState, Goal, Prior
from hamid.core.hardware.profile import Placement
from hamid.core.planner.plan import CreateInstance
from hamid.node.ledger.ledger import Ledger
from hamid.node.paths import Paths

seat = InstanceKey("GPU-a", 14, 2)
place = Placement(start=2, size=2)
step = CreateInstance(gpu_uuid="GPU-a", gpu_index=0, profile="2g.10gb", profile_id=14, placement=place)
own = OwnInstance(seat=seat, profile="2g.10gb", size=2, generation=1, mig_uuid="MIG-x")
ledger = Ledger.open(Paths(sys.argv[1]))
held = ClaimedSeat(seat=seat, profile="2g.10gb", size=2, made=True, mig_uuid="MIG-x")
for change in (
    lambda: ledger.begin_run((step,), goal=Goal.ALL, operator_name="job", claim_seats=[seat]),
    lambda: ledger.begin_step(1, 0, Prior()),
    lambda: ledger.end_step(1, 0, EntryState.DONE, seat=seat, own=own, made=True),
    lambda: ledger.end_run(1, "done", seats=[held]),
    lambda: ledger.rename_seat(seat, "MIG-y"),
    lambda: ledger.begin_ending(1, {}),
    lambda: ledger.end_run(2, "done", drops=1),
):
    change()
    sys.stdout.write("changed\\n")
    sys.stdout.flush()
"""


def test_a_change_is_flushed_before_its_method_returns(tmp_path):
    """An fdatasync follows every write to the ledger's files before the program goes on; strace sees both."""
    trace = tmp_path / "trace"
    watched = "trace=write,pwrite64,fsync,fdatasync"
    command = ["strace", "-y", "-e", watched, "-o", trace, sys.executable, "-c", CHANGES, tmp_path / "node"]
    subprocess.run(list(map(str, command)), check=True, timeout=120, capture_output=True)
    ledger, dirty, changes = Paths(str(tmp_path / "node")).ledger, set[str](), 0
    for line in trace.read_text().splitlines():
        call, _, rest = line.partition("(")
        file = rest.partition("<")[2].partition(">")[0]
        if call == "write" and '"changed' in rest:
            assert dirty == set(), f"change {changes}"
            changes += 1
        elif call in {"fsync", "fdatasync"}:
            dirty.discard(file)
        elif call == "pwrite64" and file in {ledger, f"{ledger}-wal"}:
            dirty.add(file)
    assert changes == 7
