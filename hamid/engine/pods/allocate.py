# SPDX-License-Identifier: Apache-2.0
"""Allocate: decide and record under one short lock, create instances on the GPUs' workers, answer by the deadline.

Invariant: the container gets everything or nothing remains. On any failure, and however late the driver answers,
what this call created is undone. If a GPU fails, another one is tried while there is time.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from threading import Lock, Thread

from msgspec import Struct

from hamid.core.claims.allocate import Choice, Reserved, check_ids, choose
from hamid.core.claims.claim import Claim, LedgerFacts, PodOwner
from hamid.core.claims.failure import failed, is_transient, refusal_of
from hamid.core.claims.grant import Grant
from hamid.core.claims.pod_text import for_pod
from hamid.core.claims.preference import prefer
from hamid.core.claims.release import is_leaving, is_over
from hamid.core.claims.which_container import Again, Identified, Identify, anonymous, of_claim, seen_before
from hamid.core.config.config import Config
from hamid.core.errors import (
    HamiError,
    LedgerFailed,
    LibraryMissing,
    NotPermitted,
)
from hamid.core.planner.refusal import LedgerUncertain, NoGrantKept, NotReady, Refusal, RefusalCode
from hamid.core.pods.pods import HoldingList, PodList
from hamid.core.view import View
from hamid.engine.driver.conditions import ConditionsInForce, CurrentConfig
from hamid.engine.driver.counters import Counters
from hamid.engine.driver.observer import Observer
from hamid.engine.driver.publisher import Publisher
from hamid.engine.driver.readings import Readings
from hamid.engine.pods.grant import Granting, Made
from hamid.engine.pods.kubelet_lists import HoldingsGate, RefusedPods
from hamid.engine.pods.release import ClaimEnder
from hamid.engine.steps.run import Runs
from hamid.node.ledger.ledger import Ledger
from hamid.node.ports import Logger, PodSource

# Reserve before the deadline for recording the claim and sending the response.
_MARGIN_SECONDS = 0.25
# How long a container may stay unknown: a file of pods is written a little after kubelet asks.
_UNKNOWN_SECONDS = 2.0
_POLL_SECONDS = 0.25
# How long a pod that seems to be over may take to prove it: a reconciliation and the end of its instances.
_ROOM_SECONDS = 5.0
_TOKEN_BYTES = 8
_PAUSE_SECONDS = 0.2


class Begun(Struct, frozen=True):
    """A recorded claim whose instances must now be created."""

    claim: Claim
    choice: Choice
    identified: Identified
    owner: PodOwner
    config: Config

    @property
    def run(self) -> int:
        """The run that creates it."""
        return self.claim.id


class Call(Struct, kw_only=True):
    """One call of Allocate: its ids, its deadline, GPUs that failed, and the container it was found to be for."""

    ids: tuple[str, ...]
    until: float
    avoid: dict[str, Refusal] = {}
    who: Identified | None = None


class Decider:
    """Decides one Allocate at a time and records the decision; thread-safe."""

    def __init__(
        self,
        *,
        config: CurrentConfig,
        ledger: Ledger,
        readings: Readings,
        conditions: ConditionsInForce,
        observer: Observer,
        publisher: Publisher,
        runs: Runs,
        granting: Granting,
        identify: Identify,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._readings = readings
        self._conditions = conditions
        self._observer = observer
        self._publisher = publisher
        self._runs = runs
        self._granting = granting
        self._identify = identify
        self._one_at_a_time = Lock()
        self.closing = False

    def decide(self, call: Call, pods: PodList, holdings: HoldingList) -> Begun | Grant | Refusal:
        """The decision on a call: a claim to create, an existing grant, or a refusal."""
        try:
            with self._one_at_a_time:
                return self._decide(call, pods, holdings, self._config.value, self._reserved(call.avoid))
        except (LedgerFailed, NotPermitted) as error:
            # The disk is full or became read-only: existing grants stay valid.
            return failed(RefusalCode.LEDGER, error)

    def prefer(
        self, pods: PodList, holdings: HoldingList, available: tuple[str, ...], must: tuple[str, ...], size: int
    ) -> tuple[str, ...]:
        """Ids on the GPUs that the planner would take for the container that will ask next."""
        ids = (*must, *(each for each in available if each not in must))[:size]
        with self._one_at_a_time:
            config, reserved = self._config.value, self._reserved()
            found = self._identify(pods, holdings, reserved.facts.claims, ids)
            who = anonymous(config, size) if isinstance(found, Refusal) else found
            return prefer(reserved, config, who.request, available, must)

    def reconfigure(self, config: Config) -> None:
        """Use this configuration from now on; every earlier decision is in the ledger when this returns."""
        with self._one_at_a_time:
            self._config.value = config

    def _reserved(self, avoid: Iterable[str] = ()) -> Reserved:
        """The node for a decision, which does not use the GPUs in `avoid`."""
        problems = {**self._observer.sick(), **dict.fromkeys(avoid, "it failed a moment ago")}
        # Read in this order: an instance being destroyed must count as held or doomed until it is seen to be gone.
        doomed = self._runs.doomed()
        facts = self._ledger.facts()
        gpus, merged = self._readings.gpus(), self._readings.merged(facts)
        return Reserved(gpus=gpus, facts=facts, merged=merged, doomed=doomed, problems=problems)

    def _decide(
        self, call: Call, pods: PodList, holdings: HoldingList, config: Config, reserved: Reserved
    ) -> Begun | Grant | Refusal:
        claims, view = reserved.facts.claims, self._publisher.view
        refusal = self._not_now(reserved.facts, view) or check_ids(call.ids, [each.device_id for each in view.devices])
        if refusal is not None:
            return refusal
        identified = self._identify(pods, holdings, claims, call.ids)
        if isinstance(identified, Refusal):
            return identified
        call.who = identified
        owner = identified.owner(
            resource=config.resources.count,
            device_ids=call.ids,
            granted_at=time.time(),
            boot_id=self._ledger.boot,
            token=os.urandom(_TOKEN_BYTES).hex(),
        )
        earlier = seen_before(claims, identified, resource=owner.resource, device_ids=call.ids)
        if earlier is not None:
            return self._again(*earlier, identified, owner, config)
        choice = choose(reserved, config, identified.request, call.ids)
        return choice if isinstance(choice, Refusal) else self._begin(choice, identified, owner, config)

    def _not_now(self, facts: LedgerFacts, view: View) -> Refusal | None:
        conditions = self._conditions.now
        if self.closing or not conditions.restored:
            return Refusal(facts=NotReady(self.closing, view.problems))
        if not facts.certain:
            return Refusal(facts=LedgerUncertain(conditions.node.get("ledger", "")))
        return None

    def _again(
        self, how: Again, claim: Claim, identified: Identified, owner: PodOwner, config: Config
    ) -> Grant | Refusal:
        """The existing grant, for a repeated call or for the pod's next container."""
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
        self._runs.begin(claim.id, choice.steps)
        return Begun(claim, choice, identified, owner, config)


class Allocator:
    """Answers Allocate and undoes grants; thread-safe."""

    def __init__(
        self,
        *,
        decider: Decider,
        granting: Granting,
        ender: ClaimEnder,
        pods: PodSource,
        holdings: HoldingsGate,
        config: CurrentConfig,
        ledger: Ledger,
        publisher: Publisher,
        runs: Runs,
        counters: Counters,
        log: Logger,
    ) -> None:
        self._decider = decider
        self._granting = granting
        self._ender = ender
        self._pods = RefusedPods(pods)
        self._holdings = holdings
        self._config = config
        self._ledger = ledger
        self._publisher = publisher
        self._runs = runs
        self._counters = counters
        self._log = log
        self._hurried: list[Callable[[], None]] = []
        self._inside = set[object]()

    @property
    def inside(self) -> bool:
        """True while an Allocate is being answered."""
        return bool(self._inside)

    def allocate(self, device_ids: tuple[str, ...], deadline_seconds: float | None = None) -> Grant | Refusal:
        """Grant these device ids to the container that waits for them; raises HamiError for unexpected failures."""
        began, config, counters = time.monotonic(), self._config.value, self._counters
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
        self._note(device_ids, outcome, time.monotonic() - began)
        return outcome

    def listen_for_hurry(self, listener: Callable[[], None]) -> None:
        """Call this when an Allocate waits for what a reconciliation may give back; it must not block."""
        self._hurried.append(listener)

    def undo(self, claim_id: int) -> None:
        """Undo a grant that was not delivered; raises the first error if that is not possible now."""
        claim = self._ledger.facts().claim(claim_id)
        errors = [] if claim is None else self._ender.end(claim)
        self._counters.add("hamid_undo_total", result=type(errors[0]).__name__ if errors else "ok")
        if errors:
            raise errors[0]

    def prefer(self, available: tuple[str, ...], must_include: tuple[str, ...], size: int) -> tuple[str, ...]:
        """Ids on the GPUs that the planner would take for the container that will ask next."""
        with self._holdings.answering():
            return self._decider.prefer(self._pods.pods(), self._holdings.foreign(), available, must_include, size)

    # -- trying --

    def _allocate(self, call: Call) -> Grant | Refusal:
        began = time.monotonic()
        while True:
            serial = self._publisher.serial()
            with self._holdings.answering():
                pods = self._pods.pods()
                found = self._decider.decide(call, pods, self._holdings.foreign())
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

    def _worth_waiting(self, refusal: Refusal, call: Call, pods: PodList, waited: float) -> bool:
        """True if the obstacle may disappear by itself before the deadline."""
        if time.monotonic() + _POLL_SECONDS >= call.until or self._decider.closing:
            return False
        if refusal.code is RefusalCode.NO_POD:
            return waited < _UNKNOWN_SECONDS
        if refusal.code is not RefusalCode.NO_FIT:
            return False
        # Changes in progress may make room, and so do ended pods, whose ids kubelet then assigns again.
        claims = self._ledger.facts().claims
        if self._runs.any_in_progress() or any(is_over(claim, pods) for claim in claims):
            return True
        # Kubelet neither admits nor forgets another pod in the meantime, so waiting longer would find nothing new.
        return waited < _ROOM_SECONDS and (bool(of_claim(claims, call.ids)) or any(is_leaving(x, pods) for x in claims))

    # -- making --

    def _carry_out(self, begun: Begun, call: Call) -> Grant | Refusal | None:
        """Create what was decided; None if the decision must be made again."""
        until = call.until
        try:
            running = self._runs.make(begun.run, begun.choice.steps, until)
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
            self._granting.make_folder(begun.owner, begun.config)
        grant = self._granting.render(begun.run, begun.choice, begun.identified, begun.owner, made, config=begun.config)
        self._ledger.finish_grant(begun.run, grant, made.uuids)
        self._runs.end(begun.run)
        return grant

    def _give_up(self, begun: Begun, until: float) -> None:
        """Undo everything on a separate thread, and wait for it no longer than the remaining time."""
        claim = self._ledger.facts().claim(begun.run)

        def work() -> None:
            try:
                if claim is not None:
                    self._granting.remove_folder(claim, begun.config)
                errors = self._runs.undo(self._ledger.run(begun.run))
            except HamiError as error:
                errors = [error]
            finally:
                self._runs.end(begun.run)
            for each in errors:
                self._log.warning("allocate_not_undone_yet", claim=begun.claim.name, run=begun.run, error=str(each))

        thread = Thread(target=work, name=f"undo {begun.run}", daemon=True)
        thread.start()
        thread.join(max(until - time.monotonic(), 0.0))

    def _judge(self, error: Exception, failed: set[str], call: Call) -> Refusal | None:
        """None if another try may succeed: on the same GPU after a transient error, else on other GPUs."""
        refusal = refusal_of(error)
        left = call.until - time.monotonic()
        if left < _PAUSE_SECONDS or self._decider.closing or isinstance(error, LedgerFailed):
            return refusal
        if is_transient(error):
            time.sleep(_PAUSE_SECONDS)
            return None
        fresh = failed - call.avoid.keys()
        call.avoid.update(dict.fromkeys(fresh, refusal))
        return None if fresh else refusal

    def _note(self, ids: Sequence[str], outcome: Grant | Refusal, seconds: float) -> None:
        if isinstance(outcome, Grant):
            self._log.info(
                "allocated",
                claim=self._publisher.view.claim_name(outcome.claim),
                devices=len(ids),
                seconds=round(seconds, 4),
            )
        else:
            words = for_pod(outcome)
            self._log.warning(
                "allocate_refused",
                code=outcome.code.value,
                text=words.message,
                hint=words.hint,
                reasons=list(words.reasons),
                devices=list(ids),
            )
