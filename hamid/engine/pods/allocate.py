# SPDX-License-Identifier: Apache-2.0
"""Allocate: decide and write down under one short lock, make on the GPUs' own workers, answer before the deadline.

The law: the container gets all of it or nothing of it is left; whatever fails, and however late the driver answers,
what this call made is taken back; a GPU that fails is left for another one while there is time.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from threading import Lock, Thread

from msgspec import Struct

from hamid.core.claims.allocate import Choice, check_ids, choose
from hamid.core.claims.claim import Claim, LedgerFacts, PodOwner
from hamid.core.claims.failure import failed, refusal_of
from hamid.core.claims.grant import Grant
from hamid.core.claims.pod_text import for_pod
from hamid.core.claims.preference import prefer
from hamid.core.claims.release import is_leaving, is_over
from hamid.core.claims.reserved import Reserved
from hamid.core.claims.which_container import Again, Identified, Identify, anonymous, of_claim, seen_before
from hamid.core.config.config import Config
from hamid.core.errors import (
    ForeignInstance,
    HamiError,
    InUse,
    LedgerFailed,
    LibraryMissing,
    NotPermitted,
    NvmlFailed,
)
from hamid.core.planner.refusal import LedgerUncertain, NoGrantKept, NotReady, Refusal, RefusalCode
from hamid.core.pods.pods import HoldingList, PodList
from hamid.engine.pods import share_folders
from hamid.engine.pods.grant import Granting, Made
from hamid.engine.pods.holdings_gate import HoldingsGate
from hamid.engine.pods.node_parts import NodeParts
from hamid.engine.pods.refused_pods import RefusedPods
from hamid.engine.pods.release import ClaimEnder
from hamid.engine.steps.run import Running
from hamid.node.ports import PodSource

# What is left of the deadline for writing the claim down and for the answer's way.
_MARGIN_SECONDS = 0.25
# How long a container may stay unknown: a file of pods is written a little after kubelet asks.
_UNKNOWN_SECONDS = 2.0
_POLL_SECONDS = 0.25
# How long a pod that seems to be over may take to prove it: a reconciliation and the end of its instances.
_ROOM_SECONDS = 5.0
_TOKEN_BYTES = 8
_PAUSE_SECONDS = 0.2
# NVML_ERROR_IN_USE and _INSUFFICIENT_RESOURCES: what was freed a moment ago, or somebody else came first.
_TRANSIENT = frozenset({19, 23})


class Begun(Struct, frozen=True):
    """A claim that is written down and now has to be made."""

    claim: Claim
    choice: Choice
    identified: Identified
    owner: PodOwner
    config: Config

    @property
    def run(self) -> int:
        """The run that makes it."""
        return self.claim.id


class Call(Struct, kw_only=True):
    """One call of Allocate: its ids, its deadline, GPUs that failed it, and who it was found to be for."""

    ids: tuple[str, ...]
    until: float
    avoid: dict[str, Refusal] = {}
    who: Identified | None = None


class Allocator:
    """Answers Allocate and takes answers back; thread-safe."""

    def __init__(
        self,
        parts: NodeParts,
        granting: Granting,
        ender: ClaimEnder,
        *,
        identify: Identify,
        pods: PodSource,
        holdings: HoldingsGate,
    ) -> None:
        self._parts = parts
        self._ledger = parts.ledger
        self._publisher = parts.publisher
        self._granting = granting
        self._ender = ender
        self._identify = identify
        self._pods = RefusedPods(pods)
        self._holdings = holdings
        self._hurried: list[Callable[[], None]] = []
        self._decision = Lock()
        self._inside = set[object]()
        self.closing = False

    @property
    def inside(self) -> bool:
        """True while somebody waits for an answer."""
        return bool(self._inside)

    def allocate(self, device_ids: tuple[str, ...], deadline_seconds: float | None = None) -> Grant | Refusal:
        """Give these ids to the container that waits for them; raises HamiError for what nobody expects."""
        began, config, counters = time.monotonic(), self._parts.config.value, self._parts.counters
        seconds = config.allocate_deadline_seconds
        until = began + min(seconds, seconds if deadline_seconds is None else deadline_seconds) - _MARGIN_SECONDS
        call = Call(ids=device_ids, until=until)
        result, ticket = "error", object()
        self._inside.add(ticket)
        try:
            outcome = self._allocate(call)
            result = outcome.code.value if isinstance(outcome, Refusal) else "granted"
            self._pods.note(call.who, granted=isinstance(outcome, Grant))
        except HamiError as error:
            result = type(error).__name__
            raise
        finally:
            self._inside.discard(ticket)
            mode = config.mode.value
            counters.add("hamid_allocate_total", mode=mode, result=result)
            counters.observe("hamid_allocate_duration_seconds", time.monotonic() - began, mode=mode)
        self._log(device_ids, outcome, time.monotonic() - began)
        return outcome

    def listen_for_hurry(self, listener: Callable[[], None]) -> None:
        """Call this when an Allocate waits for what a reconciliation may give back; it must not block."""
        self._hurried.append(listener)

    def undo(self, claim_id: int) -> None:
        """Take back a grant that nobody received; raises the first error where it could not be done now."""
        claim = self._ledger.facts().claim(claim_id)
        errors = [] if claim is None else self._ender.end(claim)
        self._parts.counters.add("hamid_undo_total", result=type(errors[0]).__name__ if errors else "ok")
        if errors:
            raise errors[0]

    def prefer(self, available: tuple[str, ...], must_include: tuple[str, ...], size: int) -> tuple[str, ...]:
        """Ids on the GPUs that the planner would take for the container that will ask next."""
        ids = (*must_include, *(each for each in available if each not in must_include))[:size]
        with self._holdings.answering():
            pods = self._pods.pods()
            with self._decision:
                config = self._parts.config.value
                found = self._identify(pods, self._holdings.foreign(), self._ledger.facts().claims, ids)
                who = anonymous(config, size) if isinstance(found, Refusal) else found
                return prefer(self._reserved(), config, who.request, available, must_include)

    def reconfigure(self, config: Config) -> None:
        """Decide by this configuration from now on; every earlier decision is on the ledger when this returns."""
        with self._decision:
            self._parts.config.value = config

    # -- deciding --

    def _allocate(self, call: Call) -> Grant | Refusal:
        began = time.monotonic()
        while True:
            serial = self._publisher.serial()
            with self._holdings.answering():
                pods = self._pods.pods()
                found = self._decided(call, pods, self._holdings.foreign())
                outcome = self._carry_out(found, call) if isinstance(found, Begun) else found
            if outcome is None:
                continue
            if isinstance(outcome, Grant):
                return outcome
            if not self._worth_waiting(outcome, call, pods, time.monotonic() - began):
                return next(iter(call.avoid.values()), outcome) if outcome.code is RefusalCode.NO_FIT else outcome
            for listener in self._hurried:
                listener()
            self._publisher.wait(serial, min(_POLL_SECONDS, call.until - time.monotonic()))

    def _decided(self, call: Call, pods: PodList, holdings: HoldingList) -> Begun | Grant | Refusal:
        try:
            with self._decision:
                return self._decide(call, pods, holdings)
        except (LedgerFailed, NotPermitted) as error:
            # A full disk, or one that became read-only: what was granted before goes on.
            return failed(RefusalCode.LEDGER, error)

    def _decide(self, call: Call, pods: PodList, holdings: HoldingList) -> Begun | Grant | Refusal:
        config, ids = self._parts.config.value, call.ids
        facts = self._ledger.facts()
        refusal = self._not_now(facts) or check_ids(ids, [each.device_id for each in self._publisher.view.devices])
        if refusal is not None:
            return refusal
        identified = self._identify(pods, holdings, facts.claims, ids)
        if isinstance(identified, Refusal):
            return identified
        call.who = identified
        resource = config.resources.count
        owner = identified.owner(
            resource=resource,
            device_ids=ids,
            granted_at=time.time(),
            boot_id=self._ledger.boot,
            token=os.urandom(_TOKEN_BYTES).hex(),
        )
        earlier = seen_before(facts.claims, identified, resource=resource, device_ids=ids)
        if earlier is not None:
            return self._again(*earlier, identified, owner, config)
        choice = choose(self._reserved(call.avoid), config, identified.request, ids)
        return choice if isinstance(choice, Refusal) else self._begin(choice, identified, owner, config)

    def _reserved(self, avoid: Iterable[str] = ()) -> Reserved:
        """The node for a decision, which does not use the GPUs in `avoid`."""
        problems = {**self._parts.observer.sick(), **dict.fromkeys(avoid, "it failed a moment ago")}
        # In this order: an instance that is being destroyed is seen as promised or doomed until it is seen to be gone.
        doomed = self._parts.runs.doomed()
        facts = self._ledger.facts()
        gpus, merged = self._parts.readings.gpus(), self._parts.readings.merged(facts)
        return Reserved(gpus=gpus, facts=facts, merged=merged, doomed=doomed, problems=problems)

    def _not_now(self, facts: LedgerFacts) -> Refusal | None:
        conditions = self._parts.conditions.now
        if self.closing or not conditions.restored:
            return Refusal(facts=NotReady(self.closing, self._publisher.view.problems))
        if not facts.certain:
            return Refusal(facts=LedgerUncertain(conditions.node.get("ledger", "")))
        return None

    def _again(
        self, how: Again, claim: Claim, identified: Identified, owner: PodOwner, config: Config
    ) -> Grant | Refusal:
        """The answer of before, once more or to the container that comes after."""
        if how is Again.REPEAT:
            granted = self._ledger.granted(claim.id)
        else:
            granted = self._granting.hand_on(claim, identified, owner, config)
        self._publisher.publish()
        if granted is None:
            return Refusal(facts=NoGrantKept(claim.name))
        return granted

    def _begin(self, choice: Choice, identified: Identified, owner: PodOwner, config: Config) -> Begun | Refusal:
        if choice.shares:
            try:
                self._granting.check_library(config)
            except LibraryMissing as error:
                return refusal_of(error)
        claim = self._ledger.begin_grant(owner, choice.steps, seats=choice.seats, shares=choice.shares)
        self._parts.runs.begin(claim.id, choice.steps)
        return Begun(claim, choice, identified, owner, config)

    def _worth_waiting(self, refusal: Refusal, call: Call, pods: PodList, waited: float) -> bool:
        """True when what stands in the way may pass by itself before the deadline."""
        if time.monotonic() + _POLL_SECONDS >= call.until or self.closing:
            return False
        if refusal.code is RefusalCode.NO_POD:
            return waited < _UNKNOWN_SECONDS
        if refusal.code is not RefusalCode.NO_FIT:
            return False
        # Changes on their way may make room, and so do pods that are over; kubelet gives ids anew when one is.
        claims = self._ledger.facts().claims
        if self._parts.runs.any_in_progress() or any(is_over(claim, pods) for claim in claims):
            return True
        # Kubelet admits nobody else and forgets no pod meanwhile: what has not shown by then will not.
        return waited < _ROOM_SECONDS and (bool(of_claim(claims, call.ids)) or any(is_leaving(x, pods) for x in claims))

    # -- making --

    def _carry_out(self, begun: Begun, call: Call) -> Grant | Refusal | None:
        """Make what was decided; None when it is to be decided anew."""
        until = call.until
        running = Running(self._parts.session, begun.run, claim=begun.run, until=until)
        try:
            running.go(enumerate(begun.choice.steps))
            if not running.errors:
                return self._grant(begun, self._granting.gather(begun.choice, begun.claim, until))
        except HamiError as error:
            self._give_up(begun, until)
            return self._judge(error, set(begun.choice.gpu_uuids), call)
        except BaseException:
            self._give_up(begun, until)
            raise
        self._give_up(begun, until)
        return self._judge(running.errors[0], running.failed, call)

    def _grant(self, begun: Begun, made: Made) -> Grant:
        if begun.choice.shares:
            share_folders.make(self._parts.paths, begun.config, begun.owner)
        grant = self._granting.render(begun.run, begun.choice, begun.identified, begun.owner, made, config=begun.config)
        self._ledger.finish_grant(begun.run, grant, made.uuids)
        self._parts.runs.end(begun.run)
        return grant

    def _give_up(self, begun: Begun, until: float) -> None:
        """Take everything back: on a thread of its own, for which nobody waits longer than there is time."""
        parts = self._parts
        claim = self._ledger.facts().claim(begun.run)

        def work() -> None:
            try:
                if claim is not None:
                    share_folders.remove(parts.paths, begun.config, claim)
                errors = parts.runs.undo(self._ledger.run(begun.run))
            except HamiError as error:
                errors = [error]
            finally:
                parts.runs.end(begun.run)
            for each in errors:
                parts.log.warning("allocate_not_undone_yet", claim=begun.claim.name, run=begun.run, error=str(each))

        thread = Thread(target=work, name=f"undo {begun.run}", daemon=True)
        thread.start()
        thread.join(max(until - time.monotonic(), 0.0))

    def _judge(self, error: Exception, failed: set[str], call: Call) -> Refusal | None:
        """None when another try may succeed: on the same GPU for what passes, on others for what does not."""
        refusal = refusal_of(error)
        left = call.until - time.monotonic()
        if left < _PAUSE_SECONDS or self.closing or isinstance(error, LedgerFailed):
            return refusal
        if is_transient(error):
            time.sleep(_PAUSE_SECONDS)
            return None
        fresh = failed - call.avoid.keys()
        call.avoid.update(dict.fromkeys(fresh, refusal))
        return None if fresh else refusal

    def _log(self, ids: Sequence[str], outcome: Grant | Refusal, seconds: float) -> None:
        log = self._parts.log
        if isinstance(outcome, Grant):
            log.info(
                "allocated",
                claim=self._publisher.view.claim_name(outcome.claim),
                devices=len(ids),
                seconds=round(seconds, 4),
            )
        else:
            words = for_pod(outcome)
            log.warning(
                "allocate_refused",
                code=outcome.code.value,
                text=words.message,
                hint=words.hint,
                reasons=list(words.reasons),
                devices=list(ids),
            )


def is_transient(error: Exception) -> bool:
    """True for what may be otherwise a moment later."""
    return isinstance(error, InUse | ForeignInstance) or (isinstance(error, NvmlFailed) and error.code in _TRANSIENT)
