# SPDX-License-Identifier: Apache-2.0
"""restore and release: recreate a claim's instances after a reboot, and destroy them when the claim ends.

Invariant: an instance is recreated at its recorded placement, or a message says why not. An instance that a process
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
    """One claimed instance after a restore; `before` and `now` are its MIG UUIDs, `now` is None if it is missing."""

    claim: str
    profile: str
    gpu_uuid: str
    start: int
    before: str | None
    now: str | None

    @property
    def changed(self) -> bool:
        """True if the UUID changed, so that users of the old one need the new one."""
        return self.now is not None and self.now != self.before


class RestoreReport(Struct, frozen=True, kw_only=True):
    """Every claimed instance, and messages about what was done."""

    instances: tuple[RestoredInstance, ...]
    messages: tuple[str, ...]

    @property
    def complete(self) -> bool:
        """True if every claimed instance exists."""
        return all(each.now is not None for each in self.instances)


def restore(paths: Paths) -> RestoreReport:
    """Recreate every claim's missing instances at their recorded placement; switch MIG mode on where it was lost."""
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
    """What a restore would do: `now` is None for each instance that it would recreate."""
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
            raise UsageError(f"no claim named '{name}'", f"existing claims: {known}")
        steps, kept = _ending(session.observe(), claim)
        done = carry_each(session, steps, releases=[each.seat for each in claim.seats])
        return [*messages, f"claim '{name}' is released", *done, *kept]


def _ending(snapshot: Snapshot, claim: Claim) -> tuple[list[Step], list[str]]:
    """The steps that destroy a claim's instances, and why others are kept."""
    steps: list[Step] = []
    kept = []
    gpus = {gpu.uuid: gpu for gpu in snapshot.gpus}
    for each in claim.seats:
        gpu = gpus.get(each.seat.gpu_uuid)
        instance = instance_at(gpu, each.seat) if gpu is not None else None
        if gpu is None or not is_served(gpu):
            kept.append(
                f"{each.profile}@{each.seat.start}: its GPU {each.seat.gpu_uuid} does not answer; check it later"
            )
        elif instance is not None and each.made:
            _sort_out(gpu, instance, steps, kept)
        elif instance is not None:
            kept.append(f"{_name(gpu, instance)} existed before the claim and is kept, idle")
    return steps, kept


def _sort_out(gpu: Gpu, instance: Instance, steps: list[Step], kept: list[str]) -> None:
    if instance.holders:
        names = ", ".join(str(holder) for holder in instance.holders)
        kept.append(f"{_name(gpu, instance)} is in use by {names}; later run: hamictl mig release --instance UUID")
        return
    steps.append(destroy(gpu, instance))


def release_instance(paths: Paths, mig_uuid: str) -> list[str]:
    """Remove one instance from its claim, and destroy it if hamid created it and it is idle. Foreign ones are kept.

    Raises UsageError for an unknown UUID or a claim that must not be ended.
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
            kept.append(
                f"{_name(gpu, instance)} was not created by hamid and is kept; see: hamictl mig repair --reclaim-idle"
            )
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
    raise UsageError(f"no instance with UUID '{mig_uuid}'", "list the instances with: hamictl mig list")


def _name(gpu: Gpu, instance: Instance) -> str:
    return f"{instance.profile}@{instance.placement.start} on GPU {gpu.index}"
