# SPDX-License-Identifier: Apache-2.0
"""Values of hamid.core for tests of pure decisions: a builder sets what every test needs, the test names the rest."""

from msgspec.structs import replace

from hamid.core.claims.claim import Claim, ClaimedSeat, ClaimedShare, InstanceKey, OwnInstance, PodOwner, seat_of
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.profile import Profile
from hamid.core.pods.pods import Container, Holding, Pod
from hamid.testing.boards import gpu_of
from support.narrow import present

RESOURCE = "nvidia.com/gpu"


def gpu(*instances: tuple[str, int], index: int = 0, board: str = "A100-40GB", mig: bool = True, **fields) -> Gpu:
    """A GPU with idle instances of hamid's, each as (profile, start)."""
    empty = gpu_of(board, index=index, mig=mig)
    made = tuple(instance(empty, profile, start) for profile, start in instances)
    return replace(empty, instances=made, pci_bus_id=f"00000000:{index + 1:02X}:00.0", **fields)


def profile_of(on: Gpu, name: str) -> Profile:
    """A profile of a GPU by its name."""
    return present(next((each for each in on.profiles if each.name == name), None))


def instance(on: Gpu, profile: str, start: int, **fields) -> Instance:
    """A whole, idle instance that hamid made; its MIG UUID says what it is and where it lies."""
    found = profile_of(on, profile)
    place = present(next((each for each in found.placements if each.start == start), None))
    made = Instance(
        profile=profile,
        profile_id=found.profile_id,
        memory_mib=found.memory_mib,
        placement=place,
        gi_id=10 + start,
        ci_id=0,
        compute_instances=1,
        mig_index=start,
        mig_uuid=mig_uuid(on, profile, start),
        generation=1,
    )
    return replace(made, **fields)


def mig_uuid(on: Gpu, profile: str, start: int) -> str:
    """The MIG UUID that `instance` gives."""
    return f"MIG-{on.index}-{profile}-{start}"


def own(on: Gpu, made: Instance, **fields) -> OwnInstance:
    """The ledger's row of an instance that hamid made."""
    row = OwnInstance(
        seat=seat_of(on, made),
        profile=made.profile,
        size=made.placement.size,
        generation=made.generation,
        mig_uuid=made.mig_uuid,
    )
    return replace(row, **fields)


def claimed_seat(on: Gpu, profile: str, start: int, *, made: bool = True, uuid: str | None = None) -> ClaimedSeat:
    """A claim's instance; it has a MIG UUID only where the test names one."""
    found = instance(on, profile, start)
    return ClaimedSeat(
        seat=InstanceKey(on.uuid, found.profile_id, start),
        profile=profile,
        size=found.placement.size,
        made=made,
        mig_uuid=uuid,
    )


def share(on: Gpu, memory_mib: int, sm_percent: int = 0) -> ClaimedShare:
    """A share of a GPU."""
    return ClaimedShare(gpu_uuid=on.uuid, memory_mib=memory_mib, sm_percent=sm_percent)


def owner(uid: str = "u", *ids: str, request: ContainerRequest | None = None, **fields) -> PodOwner:
    """The container `main` of pod `ns/job`, which holds these device ids and was confirmed by kubelet."""
    found = PodOwner(
        uid=uid,
        namespace="ns",
        name="job",
        container="main",
        resource=RESOURCE,
        device_ids=ids or ("GPU-1-0",),
        request=request or ContainerRequest(count=1),
        confirmed=True,
        granted_at=0.0,
        boot_id="boot",
    )
    return replace(found, **fields)


def claim(number: int, *held: ClaimedSeat | ClaimedShare, by: PodOwner | None = None, **fields) -> Claim:
    """A claim on these seats and shares, of an operator where no owner is named."""
    return Claim(
        id=number,
        operator_name="" if by else f"claim{number}",
        owner=by,
        seats=tuple(each for each in held if isinstance(each, ClaimedSeat)),
        shares=tuple(each for each in held if isinstance(each, ClaimedShare)),
        **fields,
    )


def container(name: str = "main", count: int | None = 1, **fields) -> Container:
    """A container that asks for so many devices, or for none."""
    limits = {} if count is None else {RESOURCE: str(count)}
    return Container(name=name, limits=limits, **fields)


def pod(uid: str = "u", *containers: Container, **fields) -> Pod:
    """A running pod `ns/job`."""
    found = Pod(uid=uid, namespace="ns", name="job", phase="Running", containers=containers or (container(),))
    return replace(found, **fields)


def holding(*ids: str, **fields) -> Holding:
    """What the container `main` of pod `ns/job` holds."""
    found = Holding(namespace="ns", pod="job", container="main", resource=RESOURCE, device_ids=ids)
    return replace(found, **fields)
