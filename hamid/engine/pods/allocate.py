# SPDX-License-Identifier: Apache-2.0
"""Allocate: decide and write down under one short lock, make on the GPUs' own workers, answer before the deadline.

The law: the container gets all of it or nothing of it is left; whatever fails, and however late the driver answers,
what this call made is taken back; a GPU that fails is left for another one while there is time.
"""

import os
import time
from collections.abc import Sequence
from threading import Thread

from msgspec import Struct

from hamid.core.claims.allocate import Choice, check_ids, choose
from hamid.core.claims.claim import Claim, PodOwner
from hamid.core.claims.failure import failed, refusal_of
from hamid.core.claims.grant import Grant
from hamid.core.claims.journal import seat_of_step
from hamid.core.claims.pod_text import for_pod
from hamid.core.claims.preference import prefer
from hamid.core.claims.release import is_leaving, is_over
from hamid.core.claims.which_container import Again, Identified, Identify, anonymous, of_claim, seen_before
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
from hamid.core.planner.steps import DestroyInstance
from hamid.core.pods.pods import HoldingList, PodList
from hamid.engine.driver.live import Live
from hamid.engine.pods import share_folders
from hamid.engine.pods.grant import Granting, Made
from hamid.engine.pods.holdings_gate import Courtesy
from hamid.engine.pods.refused_pods import Refusals
from hamid.engine.pods.release import end_claim, take_back
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

    run: int
    claim: str
    choice: Choice
    identified: Identified
    owner: PodOwner


class Call(Struct, kw_only=True):
    """One call of Allocate: its ids, its deadline, GPUs that failed it, and who it was found to be for."""

    ids: tuple[str, ...]
    until: float
    avoid: dict[str, Refusal] = {}
    who: Identified | None = None


class Allocator:
    """Answers Allocate and takes answers back; thread-safe."""

    def __init__(self, live: Live, *, identify: Identify, pods: PodSource, holdings: Courtesy) -> None:
        self._live = live
        self._identify = identify
        self._pods = Refusals(pods)
        self._holdings = holdings
        self._granting = Granting(live)
        self._inside = set[object]()
        self.closing = False

    @property
    def inside(self) -> bool:
        """True while somebody waits for an answer."""
        return bool(self._inside)

    def allocate(self, device_ids: tuple[str, ...], deadline_seconds: float | None = None) -> Grant | Refusal:
        """Give these ids to the container that waits for them; raises HamiError for what nobody expects."""
        live, began = self._live, time.monotonic()
        seconds = live.config.allocate_deadline_seconds
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
            mode = live.config.mode.value
            live.counters.add("hamid_allocate_total", mode=mode, result=result)
            live.counters.observe("hamid_allocate_duration_seconds", time.monotonic() - began, mode=mode)
        self._log(device_ids, outcome, time.monotonic() - began)
        return outcome

    def undo(self, claim_name: str) -> None:
        """Take back a grant that nobody received; raises the first error where it could not be done now."""
        claim = self._live.ledger.facts().claim(claim_name)
        errors = [] if claim is None else end_claim(self._live, claim)
        self._live.counters.add("hamid_undo_total", result=type(errors[0]).__name__ if errors else "ok")
        if errors:
            raise errors[0]

    def prefer(self, available: tuple[str, ...], must_include: tuple[str, ...], size: int) -> tuple[str, ...]:
        """Ids on the GPUs that the planner would take for the container that will ask next."""
        live = self._live
        ids = (*must_include, *(each for each in available if each not in must_include))[:size]
        with self._holdings.answering():
            pods = self._pods.pods()
            with live.decision:
                found = self._identify(pods, self._holdings.foreign(), live.ledger.facts().claims, ids)
                who = anonymous(live.config, size) if isinstance(found, Refusal) else found
                return prefer(live.standing(), live.config, who.request, available, must_include)

    # -- deciding --

    def _allocate(self, call: Call) -> Grant | Refusal:
        began = time.monotonic()
        while True:
            serial = self._live.serial()
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
            self._live.hurry()
            self._live.wait_for_news(serial, min(_POLL_SECONDS, call.until - time.monotonic()))

    def _decided(self, call: Call, pods: PodList, holdings: HoldingList) -> Begun | Grant | Refusal:
        try:
            with self._live.decision:
                return self._decide(call, pods, holdings)
        except (LedgerFailed, NotPermitted) as error:
            # A full disk, or one that became read-only: what was granted before goes on.
            return failed(RefusalCode.LEDGER, error)

    def _decide(self, call: Call, pods: PodList, holdings: HoldingList) -> Begun | Grant | Refusal:
        live, ids = self._live, call.ids
        facts = live.ledger.facts()
        refusal = self._not_now() or check_ids(ids, [each.device_id for each in live.view.devices])
        if refusal is not None:
            return refusal
        identified = self._identify(pods, holdings, facts.claims, ids)
        if isinstance(identified, Refusal):
            return identified
        call.who = identified
        resource = live.config.resources.count
        owner = identified.owner(
            resource=resource,
            device_ids=ids,
            granted_at=time.time(),
            boot_id=live.ledger.boot,
            token=os.urandom(_TOKEN_BYTES).hex(),
        )
        earlier = seen_before(facts.claims, identified, resource=resource, device_ids=ids)
        if earlier is not None:
            return self._again(*earlier, identified, owner)
        choice = choose(live.standing(call.avoid), live.config, identified.request, ids)
        return choice if isinstance(choice, Refusal) else self._begin(choice, identified, owner)

    def _not_now(self) -> Refusal | None:
        live = self._live
        facts = live.ledger.facts()
        if self.closing or not live.restored:
            return Refusal(facts=NotReady(self.closing, live.view.problems))
        if not facts.certain:
            return Refusal(facts=LedgerUncertain(live.problems.get("ledger", "")))
        return None

    def _again(self, how: Again, claim: Claim, identified: Identified, owner: PodOwner) -> Grant | Refusal:
        """The answer of before, once more or to the container that comes after."""
        if how is Again.REPEAT:
            granted = self._live.ledger.granted(claim.name)
        else:
            granted = self._granting.hand_on(claim, identified, owner)
        self._live.publish()
        if granted is None:
            return Refusal(facts=NoGrantKept(claim.name))
        return granted

    def _begin(self, choice: Choice, identified: Identified, owner: PodOwner) -> Begun | Refusal:
        live = self._live
        if choice.shares:
            try:
                self._granting.check_library()
            except LibraryMissing as error:
                return refusal_of(error)
        run, name = live.ledger.begin_grant(owner, choice.steps, seats=choice.seats, shares=choice.shares)
        live.fly(run, [seat_of_step(step) for step in choice.steps if isinstance(step, DestroyInstance)])
        return Begun(run, name, choice, identified, owner)

    def _worth_waiting(self, refusal: Refusal, call: Call, pods: PodList, waited: float) -> bool:
        """True when what stands in the way may pass by itself before the deadline."""
        if time.monotonic() + _POLL_SECONDS >= call.until or self.closing:
            return False
        if refusal.code is RefusalCode.NO_POD:
            return waited < _UNKNOWN_SECONDS
        if refusal.code is not RefusalCode.NO_FIT:
            return False
        # Changes on their way may make room, and so do pods that are over; kubelet gives ids anew when one is.
        claims = self._live.ledger.facts().claims
        if self._live.is_changing() or any(is_over(claim, pods) for claim in claims):
            return True
        # Kubelet admits nobody else and forgets no pod meanwhile: what has not shown by then will not.
        return waited < _ROOM_SECONDS and (bool(of_claim(claims, call.ids)) or any(is_leaving(x, pods) for x in claims))

    # -- making --

    def _carry_out(self, begun: Begun, call: Call) -> Grant | Refusal | None:
        """Make what was decided; None when it is to be decided anew."""
        live, until = self._live, call.until
        running = Running(live.session, begun.run, claim=begun.claim, until=until)
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
            share_folders.make(self._live.paths, self._live.config, begun.owner)
        grant = self._granting.render(begun.claim, begun.choice, begun.identified, begun.owner, made)
        self._live.ledger.finish_grant(begun.run, begun.claim, grant, made.uuids)
        self._live.land(begun.run)
        return grant

    def _give_up(self, begun: Begun, until: float) -> None:
        """Take everything back: on a thread of its own, for which nobody waits longer than there is time."""
        live = self._live
        claim = live.ledger.facts().claim(begun.claim)

        def work() -> None:
            try:
                if claim is not None:
                    share_folders.remove(live.paths, live.config, claim)
                errors = take_back(live, live.ledger.run(begun.run))
            except HamiError as error:
                errors = [error]
            finally:
                live.land(begun.run)
            for each in errors:
                live.log.warning("allocate_not_undone_yet", claim=begun.claim, run=begun.run, error=str(each))

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
        log = self._live.log
        if isinstance(outcome, Grant):
            log.info("allocated", claim=outcome.claim, devices=len(ids), seconds=round(seconds, 4))
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
