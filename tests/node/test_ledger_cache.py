# SPDX-License-Identifier: Apache-2.0
"""What a writer remembers of its ledger is what a reader finds in the file, after any changes in any order."""

from contextlib import closing, suppress

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from support.ledgers import add_claim, release_claim

from hamid.core.claims.claim import ClaimedSeat, ClaimedShare, InstanceKey, OwnInstance, PodOwner
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.grant import Grant
from hamid.core.claims.journal import EntryState, Goal, Prior
from hamid.core.errors import UsageError
from hamid.core.hardware.profile import Placement
from hamid.core.planner.plan import CreateInstance
from hamid.node.ledger.ledger import Ledger
from hamid.node.ledger.reader import read_facts
from hamid.node.paths import Paths


def seat(number):
    return InstanceKey("GPU-a", 14, number)


def claimed(number):
    return ClaimedSeat(seat=seat(number), profile="2g.10gb", size=2, made=False, mig_uuid=None)


def step(number):
    return CreateInstance(
        gpu_uuid="GPU-a", gpu_index=0, profile="2g.10gb", profile_id=14, placement=Placement(start=number, size=2)
    )


def owner(number):
    ids, request = ("GPU-a-0",), ContainerRequest(count=1)
    return PodOwner(
        uid=f"u{number}",
        name=f"p{number}",
        resource="gpu",
        device_ids=ids,
        request=request,
        granted_at=1.0,
        boot_id="b",
    )


class Checked:
    """A ledger that is compared with its file after every change, also a refused one."""

    def __init__(self, ledger, paths):
        self._ledger = ledger
        self._paths = paths

    def __getattr__(self, name):
        def call(*arguments, **options):
            try:
                return getattr(self._ledger, name)(*arguments, **options)
            finally:
                assert self._ledger.facts() == read_facts(self._paths), name

        return call


class Writer:
    """One method an operation; each takes a small number, and does nothing where it makes no sense."""

    def __init__(self, ledger):
        self.ledger = ledger
        self.grants = {}

    def grant(self, number):
        """Begin, make, finish: as an Allocate does; the claim's run stays open for an odd number."""
        run = self.ledger.begin_grant(owner(number), [step(number)], seats=[claimed(number)]).id
        generation = self.ledger.begin_step(run, 0, Prior())
        own = OwnInstance(seat=seat(number), profile="2g.10gb", size=2, generation=generation, mig_uuid=f"MIG-{run}")
        self.ledger.end_step(run, 0, EntryState.DONE, seat=seat(number), own=own, made=True)
        if number % 2 == 0:
            self.ledger.finish_grant(run, Grant(claim=run), {seat(number): f"MIG-{run}"})
            self.grants[number] = run

    def share(self, number):
        shares = [ClaimedShare(gpu_uuid="GPU-b", memory_mib=100 + number, sm_percent=0)]
        run = self.ledger.begin_grant(owner(number), [], shares=shares).id
        self.ledger.finish_grant(run, Grant(claim=run), {})
        self.grants[number] = run

    def regrant(self, number):
        if number in self.grants:
            other = replace(owner(number), name=f"q{number}")
            self.ledger.regrant(self.grants[number], other, Grant(claim=self.grants[number]), {})

    def undo(self, number):
        run = self.ledger.begin_run([step(number)], goal=Goal.ALL)
        self.ledger.begin_step(run, 0, Prior(existed=True))
        self.ledger.end_step(run, 0, EntryState.OVER, seat=seat(number))
        self.ledger.end_run(run, "undone", drops=self.grants.pop(number, None))

    def claim(self, number):
        add_claim(self.ledger, f"job{number}", [claimed(number)])

    def release(self, number):
        release_claim(self.ledger, f"job{number}")

    def release_seat(self, number):
        self.ledger.release_seat(seat(number))

    def rename(self, number):
        self.ledger.rename_seat(seat(number), f"MIG-new-{number}")

    def forget(self, number):
        self.ledger.forget(seat(number))

    def adopt(self, number):
        self.ledger.adopt([seat(number)])

    def explain(self, number):
        self.ledger.explain([seat(number)])


OPERATIONS = sorted(name for name in vars(Writer) if not name.startswith("_"))


@given(operations=st.lists(st.tuples(st.sampled_from(OPERATIONS), st.integers(0, 4)), max_size=14))
def test_what_is_remembered_is_what_is_written(tmp_path_factory, operations):
    """After every change, also one that was refused, the writer's facts are those of the file."""
    paths = Paths(str(tmp_path_factory.mktemp("ledger")))
    with closing(Ledger.open(paths)) as ledger:
        writer = Writer(Checked(ledger, paths))
        for name, number in operations:
            # A seat or a name that is taken is refused.
            with suppress(UsageError):
                getattr(writer, name)(number)
