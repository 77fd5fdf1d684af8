# SPDX-License-Identifier: Apache-2.0
"""PreStartContainer: check that a container's grant exists, or refuse its start and say what to do.

Invariant: kubelet repeats the first grant for as long as the pod lives, so a container cannot use an instance that was
recreated with a different UUID.
"""

import time
from collections.abc import Iterable

from hamid.core.claims.allocate import Choice
from hamid.core.claims.claim import Claim
from hamid.core.claims.failure import is_transient, refusal_of
from hamid.core.claims.grant import DeviceNode
from hamid.core.claims.mig_grant import visible_devices
from hamid.core.claims.pod_text import for_pod
from hamid.core.claims.restore import missing_steps
from hamid.core.claims.which_container import started_by
from hamid.core.config.config import Mode
from hamid.core.errors import HamiError, LibraryMissing
from hamid.core.planner.eligibility import can_restore
from hamid.core.planner.refusal import GrantLost, NoClaim, Refusal
from hamid.engine.driver.conditions import ConditionsInForce, CurrentConfig
from hamid.engine.driver.counters import Counters
from hamid.engine.driver.publisher import Publisher
from hamid.engine.driver.readings import Readings
from hamid.engine.driver.turns import Turns
from hamid.engine.pods.grant import Granting
from hamid.engine.steps.run import Runs
from hamid.node.driver.device_nodes import CAPABILITIES
from hamid.node.ledger.ledger import Ledger
from hamid.node.ports import Logger

# Kubelet waits 30 s for the answer.
SECONDS = 27.0
_PAUSE_SECONDS = 0.2


class Prestart:
    """Verifies and restores grants; thread-safe."""

    def __init__(
        self,
        *,
        granting: Granting,
        config: CurrentConfig,
        ledger: Ledger,
        readings: Readings,
        conditions: ConditionsInForce,
        publisher: Publisher,
        runs: Runs,
        turns: Turns,
        counters: Counters,
        log: Logger,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._readings = readings
        self._conditions = conditions
        self._publisher = publisher
        self._runs = runs
        self._turns = turns
        self._counters = counters
        self._log = log
        self._granting = granting

    def check(self, device_ids: tuple[str, ...]) -> Refusal | None:
        """None if the whole grant exists; raises HamiError for unexpected failures."""
        began, result = time.monotonic(), "error"
        try:
            refusal, restored = self._check(device_ids, began + SECONDS)
            result = refusal.code.value if refusal is not None else "restored" if restored else "ok"
        except HamiError as error:
            result = type(error).__name__
            raise
        finally:
            self._counters.add("hamid_prestart_total", result=result)
            self._counters.observe("hamid_prestart_duration_seconds", time.monotonic() - began)
        if refusal is not None:
            words = for_pod(refusal)
            self._log.warning("start_refused", code=refusal.code.value, text=words.message, hint=words.hint)
        elif restored:
            self._log.info("restored_for_start", devices=list(device_ids))
        return refusal

    def _check(self, ids: tuple[str, ...], until: float) -> tuple[Refusal | None, bool]:
        while not self._conditions.now.restored and (left := until - time.monotonic()) > 0:
            self._publisher.wait(self._publisher.serial(), min(left, _PAUSE_SECONDS))
        facts = self._ledger.facts()
        claims = started_by(facts.claims, ids)
        if not claims:
            return self._unknown(trusted=facts.certain), False
        restored = False
        for claim in claims:
            refusal, again = self._check_claim(claim, until)
            restored = restored or again
            if refusal is not None:
                return refusal, restored
        return None, restored

    def _unknown(self, *, trusted: bool) -> Refusal | None:
        """No claim has these ids; after a lost ledger this is no reason to refuse the container."""
        if not trusted:
            return None
        return Refusal(facts=NoClaim())

    def _check_claim(self, claim: Claim, until: float) -> tuple[Refusal | None, bool]:
        if claim.shares and claim.owner is not None:
            try:
                self._granting.check_library(self._config.value)
            except LibraryMissing as error:
                return refusal_of(error), False
            # Kubelet passes the device nodes of the first grant to the container, also after a reboot.
            tuple(self._granting.nodes_of_shares(claim.shares))
            return None, self._granting.ensure_folder(claim.owner, self._config.value)
        # One start at a time restores a claim; other starts then find it restored.
        with self._turns.in_turn(f"claim {claim.id}"):
            return self._check_instances(claim, until)

    def _check_instances(self, claim: Claim, until: float) -> tuple[Refusal | None, bool]:
        while True:
            error = None
            try:
                restored = self._bring_back(claim, until)
                told = self._told_otherwise(claim, until)
            except HamiError as caught:
                error = caught
            if error is None:
                return told, restored
            if not is_transient(error) or time.monotonic() + _PAUSE_SECONDS > until:
                return refusal_of(error), False
            time.sleep(_PAUSE_SECONDS)

    def _bring_back(self, claim: Claim, until: float) -> bool:
        """Recreate what is missing of a claim; True if anything was missing. Raises the first error."""
        self._granting.refresh(claim, until)
        gpus = [gpu for gpu in self._readings.gpus() if can_restore(gpu)]
        steps = tuple(missing_steps(gpus, (claim,)))
        if not steps:
            return False
        running = self._runs.carry_out(steps, until)
        if running.errors:
            raise running.errors[0]
        return True

    def _told_otherwise(self, claim: Claim, until: float) -> Refusal | None:
        choice = Choice(mode=Mode.MIG, seats=claim.seats)
        made = self._granting.look(choice, claim, until, idle=False)
        granted = self._ledger.granted(claim.id)
        if granted is None:
            return None
        # A different capability number may belong to another container's instance by now.
        gone = sorted(set(visible_devices(granted)) - set(made.uuids.values()))
        gone += sorted(_capabilities(granted.devices) - _capabilities(made.nodes))
        if not gone:
            return None
        there = tuple((f"{each.profile}@{each.seat.start}", made.uuids[each.seat]) for each in claim.seats)
        return Refusal(facts=GrantLost(tuple(gone), there))


def _capabilities(nodes: Iterable[DeviceNode]) -> set[str]:
    return {each.container_path for each in nodes if each.container_path.startswith(CAPABILITIES)}
