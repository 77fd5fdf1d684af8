# SPDX-License-Identifier: Apache-2.0
"""Why a request is refused: a code for metrics and gRPC, facts for messages, and a reason for each GPU.

The planner refuses an operator's Request. Allocate and PreStartContainer refuse a container. Each kind of refusal is a
class whose fields are its facts. The texts are in hamid.core.planner.refusal_text and hamid.core.claims.pod_text.
"""

from enum import StrEnum
from typing import ClassVar

from msgspec import Struct

from hamid.core.planner.plan import Consideration
from hamid.core.planner.reasons import Reason
from hamid.core.planner.request import Request


class RefusalCode(StrEnum):
    """Kinds of refusal, stable for metrics and the table of gRPC status."""

    NO_FIT = "no-fit"
    AMBIGUOUS = "ambiguous"
    NO_POD = "no-pod"
    BAD_REQUEST = "bad-request"
    UNKNOWN_DEVICE = "unknown-device"
    NOT_READY = "not-ready"
    LIBRARY = "library"
    DEADLINE = "deadline"
    DRIVER = "driver"
    LEDGER = "ledger"
    LOST = "lost"


# -- nothing fits --


class NoInstances(Struct, frozen=True):
    """No GPU can hold the `wanted` instances (`2 x 8000 MiB`); the reasons say why."""

    code: ClassVar = RefusalCode.NO_FIT
    wanted: str


class NoShares(Struct, frozen=True):
    """Fewer than `count` of the `eligible` GPUs have room for a share of this `size`."""

    code: ClassVar = RefusalCode.NO_FIT
    count: int
    size: str
    eligible: int


class NoGpu(Struct, frozen=True):
    """No GPU of the node is eligible; the reasons say why."""

    code: ClassVar = RefusalCode.NO_FIT


NoFit = NoInstances | NoShares | NoGpu


class NoKind(Struct, frozen=True):
    """Both instances and shares were refused, each for its own reason."""

    code: ClassVar = RefusalCode.NO_FIT
    refusals: "tuple[Refusal, ...]"


# -- the call cannot be matched to devices, or to a container --


class RepeatedDevice(Struct, frozen=True):
    """One device id is named twice."""

    code: ClassVar = RefusalCode.BAD_REQUEST


class UnknownDevice(Struct, frozen=True):
    """Hamid does not advertise this device id."""

    code: ClassVar = RefusalCode.UNKNOWN_DEVICE
    device_id: str


class PodsUnknown(Struct, frozen=True):
    """The list of pods is unavailable (`problem`), so the container cannot be identified."""

    code: ClassVar = RefusalCode.NO_POD
    problem: str


class NoPodWaits(Struct, frozen=True):
    """No pod waits for `count` devices; `problem` is what is wrong with the list of pods."""

    code: ClassVar = RefusalCode.NO_POD
    count: int
    resource: str
    problem: str


class InvalidPod(Struct, frozen=True):
    """The pod's request is invalid."""

    code: ClassVar = RefusalCode.BAD_REQUEST
    problem: str


class Ambiguous(Struct, frozen=True):
    """`count` containers with different requests wait; `waiting` names some, with the request of each."""

    code: ClassVar = RefusalCode.AMBIGUOUS
    count: int
    waiting: tuple[tuple[str, str], ...]


Unidentified = RepeatedDevice | UnknownDevice | PodsUnknown | NoPodWaits | InvalidPod | Ambiguous


# -- the claim --


class NoGrantKept(Struct, frozen=True):
    """The claim that answers this call has no stored grant to repeat."""

    code: ClassVar = RefusalCode.LEDGER
    claim: str


class NoClaim(Struct, frozen=True):
    """The ledger has no claim on the devices of a container that is about to start."""

    code: ClassVar = RefusalCode.LOST


class GrantLost(Struct, frozen=True):
    """The container's grant names devices that are `gone`; `there` has the current UUID of each of its instances."""

    code: ClassVar = RefusalCode.LOST
    gone: tuple[str, ...]
    there: tuple[tuple[str, str | None], ...]


ClaimProblem = NoGrantKept | NoClaim | GrantLost


# -- hamid and the node --


class NotReady(Struct, frozen=True):
    """Hamid is shutting down (`ending`) or still restoring claims; `problems` say what blocks it."""

    code: ClassVar = RefusalCode.NOT_READY
    ending: bool
    problems: tuple[str, ...]


class LedgerUncertain(Struct, frozen=True):
    """The ledger was lost, and not every instance is explained yet."""

    code: ClassVar = RefusalCode.LEDGER
    problem: str


class Failed(Struct, frozen=True):
    """A hamid error with its own text; its class determined the code."""

    code: RefusalCode
    message: str
    hint: str


NodeProblem = NotReady | LedgerUncertain | Failed
PlainFacts = NoFit | Unidentified | ClaimProblem | NodeProblem


class Refusal(Struct, frozen=True, kw_only=True):
    """Why a request cannot be met now, and why each considered GPU cannot serve it."""

    facts: PlainFacts | NoKind
    reasons: tuple[Reason, ...] = ()

    @property
    def code(self) -> RefusalCode:
        """The kind of refusal."""
        return self.facts.code


class PlanRefusal(Refusal, frozen=True, kw_only=True):
    """The planner's Refusal, with the request and the snapshot that it is based on, as in a Plan."""

    request: Request
    fingerprint: str
    simulated: bool
    warnings: tuple[str, ...] = ()
    considered: tuple[Consideration, ...] = ()
