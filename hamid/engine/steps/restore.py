# SPDX-License-Identifier: Apache-2.0
"""restore and release: what a claim holds comes back after a reboot, and goes when the claim ends.

The law: an instance comes back at the placement that was recorded, or not at all and that is said; what a process
still uses outlives its claim.
"""

from collections.abc import Iterable, Iterator, Sequence

from msgspec import Struct

from hamid.core.claims.claim import Claim, ClaimedSeat, InstanceKey, LedgerFacts, claimed, instance_at, seat_of
from hamid.core.claims.restore import missing_steps
from hamid.core.errors import NodeError, UsageError
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.eligibility import is_served
from hamid.core.planner.plan import Step, destroy
from hamid.engine.driver.session import DriverSession
from hamid.engine.steps.recover import carry_each, recover_in
from hamid.node.ledger import files
from hamid.node.paths import Paths


class RestoredInstance(Struct, frozen=True, kw_only=True):
    """One claimed instance after a restore; `before` and `now` are its MIG UUIDs, `now` None where it is not back."""

    claim: str
    profile: str
    gpu_uuid: str
    start: int
    before: str | None
    now: str | None

    @property
    def changed(self) -> bool:
        """True when whoever knew the old UUID must learn the new one."""
        return self.now is not None and self.now != self.before


class RestoreReport(Struct, frozen=True, kw_only=True):
    """Every claimed instance, and what was done in words."""

    instances: tuple[RestoredInstance, ...]
    messages: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """True when every claimed instance is there."""
        return all(each.now is not None for each in self.instances)


def restore(paths: Paths) -> RestoreReport:
    """Bring every claim's missing instances back at their recorded placement, with MIG mode where it was lost."""
    if files.state_of(paths.ledger) == "none":
        return RestoreReport(instances=(), messages=())
    with DriverSession(paths) as session:
        messages = recover_in(session)
        facts = session.ledger.facts()
        messages += carry_each(session, tuple(missing_steps(session.observe().gpus, facts.claims)))
        restored = tuple(_compare(session, session.observe(), facts))
        return RestoreReport(
            instances=restored, messages=(*messages, *(_told(each) for each in restored if each.changed))
        )


def preview(snapshot: Snapshot, claims: Iterable[Claim]) -> RestoreReport:
    """What a restore would find: `now` is None for each instance that it would make again."""
    found = claimed(snapshot.gpus, claims)
    return RestoreReport(instances=tuple(_restored(*each) for each in found), messages=())


def _compare(session: DriverSession, snapshot: Snapshot, facts: LedgerFacts) -> Iterator[RestoredInstance]:
    for name, each, instance in claimed(snapshot.gpus, facts.claims):
        restored = _restored(name, each, instance)
        if restored.changed:
            session.ledger.rename_seat(each.seat, restored.now)
        yield restored


def _restored(name: str, each: ClaimedSeat, instance: Instance | None) -> RestoredInstance:
    return RestoredInstance(
        claim=name,
        profile=each.profile,
        gpu_uuid=each.seat.gpu_uuid,
        start=each.seat.start,
        before=each.mig_uuid,
        now=None if instance is None else instance.mig_uuid,
    )


def _told(each: RestoredInstance) -> str:
    return f"claim '{each.claim}': {each.profile}@{each.start} is now {each.now}, it was {each.before}"


def release(paths: Paths, name: str) -> list[str]:
    """End a claim; what was created for it is destroyed where it is idle. Raises UsageError for an unknown name."""
    with DriverSession(paths) as session:
        messages = recover_in(session)
        facts = session.ledger.facts()
        claim = next((each for each in facts.claims if each.name == name), None)
        if claim is None:
            known = ", ".join(sorted(each.name for each in facts.claims)) or "none"
            raise UsageError(f"there is no claim '{name}'", f"claims here: {known}")
        steps, kept = _ending(session.observe(), claim)
        done = carry_each(session, steps, releases=[each.seat for each in claim.seats])
        return [*messages, f"claim '{name}' is released", *done, *kept]


def _ending(snapshot: Snapshot, claim: Claim) -> tuple[list[Step], list[str]]:
    """What goes with a claim, and what stays and why."""
    steps: list[Step] = []
    kept = []
    gpus = {gpu.uuid: gpu for gpu in snapshot.gpus}
    for each in claim.seats:
        gpu = gpus.get(each.seat.gpu_uuid)
        instance = instance_at(gpu, each.seat) if gpu is not None else None
        if gpu is None or not is_served(gpu):
            kept.append(
                f"{each.profile}@{each.seat.start}: its GPU {each.seat.gpu_uuid} does not answer; look at it later"
            )
        elif instance is not None and each.made:
            _sort_out(gpu, instance, steps, kept)
        elif instance is not None:
            kept.append(f"{_name(gpu, instance)} was there before the claim and stays, idle")
    return steps, kept


def _sort_out(gpu: Gpu, instance: Instance, steps: list[Step], kept: list[str]) -> None:
    if instance.holders:
        names = ", ".join(str(holder) for holder in instance.holders)
        kept.append(f"{_name(gpu, instance)} stays, since {names} uses it; then: hamictl mig release --instance")
        return
    steps.append(destroy(gpu, instance))


def release_instance(paths: Paths, mig_uuid: str) -> list[str]:
    """Take one instance from its claim, and destroy it if we made it and it is idle; others' instances stay.

    Raises UsageError for a UUID that is not here or whose claim nobody may end.
    """
    with DriverSession(paths) as session:
        messages = recover_in(session)
        facts = session.ledger.facts()
        gpu, instance = _find(session.observe(), mig_uuid)
        seat = seat_of(gpu, instance)
        own = facts.own_at(seat)
        claim = facts.claim_on(seat)
        if claim:
            messages.append(f"{_name(gpu, instance)} is released from claim '{claim}'")
        steps: list[Step] = []
        kept: list[str] = []
        if own is None or not own.is_at(instance):
            kept.append(f"{_name(gpu, instance)} is not ours and stays; see hamictl mig repair --reclaim-idle")
        else:
            _sort_out(gpu, instance, steps, kept)
        return [*messages, *carry_each(session, steps, _seats(claim, seat)), *kept]


def _seats(claim: str, seat: InstanceKey) -> Sequence[InstanceKey]:
    return [seat] if claim else []


def _find(snapshot: Snapshot, mig_uuid: str) -> tuple[Gpu, Instance]:
    for gpu in snapshot.gpus:
        for instance in gpu.instances:
            if instance.mig_uuid is not None and instance.mig_uuid == mig_uuid:
                return gpu, instance
    silent = [gpu.title for gpu in snapshot.gpus if not is_served(gpu)]
    if silent:
        raise NodeError(f"'{mig_uuid}' was not found, and {', '.join(silent)} does not answer", "hamictl gpu list")
    raise UsageError(f"no instance here is called '{mig_uuid}'", "hamictl mig list shows the instances")


def _name(gpu: Gpu, instance: Instance) -> str:
    return f"{instance.profile}@{instance.placement.start} on GPU {gpu.index}"
