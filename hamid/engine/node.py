# SPDX-License-Identifier: Apache-2.0
"""The daemon's node: ledger, driver and workers, open for the daemon's lifetime, behind kubelet's calls.

Every method may block and be called from any thread; `view` never blocks.
"""

import time
from collections.abc import Callable, Sequence

from hamid.core.claims.claim import Claim
from hamid.core.claims.device_ids import PluginDevice
from hamid.core.claims.grant import Grant
from hamid.core.claims.release import ending
from hamid.core.claims.which_container import Identified, Identify, anonymous
from hamid.core.config.config import Config
from hamid.core.planner.refusal import Refusal
from hamid.core.pods.pods import HoldingList, PodList
from hamid.core.view import View
from hamid.engine.driver.counters import Counters
from hamid.engine.pods.node_parts import Sources, open_parts, open_services
from hamid.node.paths import Paths
from hamid.node.ports import GrantRecords, HoldingSource, Logger, NoGrantRecords, NoHoldings, NoPods, PodSource

# Of the 10 s that a stop may take.
_GRACE_SECONDS = 7.0
_POLL_SECONDS = 0.1


class Node:
    """Holds the ledger from the beginning; raises LedgerBusy, LedgerFailed or NotPermitted.

    The driver may come later: until `start` has succeeded nothing is granted. By the `clock` pods are found absent.
    """

    def __init__(
        self,
        paths: Paths,
        config: Config,
        *,
        log: Logger,
        identify: Identify | None = None,
        counters: Counters | None = None,
        pods: PodSource | None = None,
        holdings: HoldingSource | None = None,
        memory: GrantRecords | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = self.parts = open_parts(paths, config, counters=counters or Counters(), log=log)
        self._pods = pods or NoPods()
        sources = Sources(
            identify=identify or self._anyone,
            pods=self._pods,
            holdings=holdings or NoHoldings(),
            memory=memory or NoGrantRecords(),
            clock=clock,
        )
        self._services = open_services(parts, sources)
        self._closed = False

    def _anyone(
        self, _pods: PodList, _holdings: HoldingList, _claims: tuple[Claim, ...], ids: Sequence[str]
    ) -> Identified:
        return anonymous(self.parts.config.value, len(ids))

    @property
    def view(self) -> View:
        """The last published state of the node."""
        return self.parts.publisher.view

    def start(self) -> list[str]:
        """End interrupted changes, set modes, restore claims of pods that still exist; return messages.

        May be tried again after an error (DriverMissing, DriverHung, NvmlFailed, LedgerFailed).
        """
        self.parts.observe()
        pods = self._pods.pods()
        self._services.adopter.run(pods, self._services.holdings.holdings())
        over = {pod.uid for pod in pods.pods if ending(pod) is not None}
        return self._services.restorer.restore_all(over)

    def observe(self) -> View:
        """Read the node and publish; raises the driver's error if it does not answer."""
        self.parts.observe()
        return self.view

    def devices(self) -> tuple[PluginDevice, ...]:
        """The devices that kubelet may give to containers."""
        return self.view.devices

    def prefer(self, available: tuple[str, ...], must_include: tuple[str, ...], size: int) -> tuple[str, ...]:
        """The available ids that the planner would take."""
        return self._services.allocator.prefer(available, must_include, size)

    def allocate(self, device_ids: Sequence[str], *, deadline_seconds: float | None = None) -> Grant | Refusal:
        """Grant these device ids to the container that waits for them, within the deadline."""
        return self._services.allocator.allocate(tuple(device_ids), deadline_seconds)

    def undo(self, claim: int) -> None:
        """Undo a grant that was not delivered, by the id of its claim."""
        self._services.allocator.undo(claim)

    def claim_name(self, claim: int) -> str:
        """The name of the claim with this id, or the id itself if there is no such claim."""
        return self.view.claim_name(claim)

    def prestart(self, device_ids: Sequence[str]) -> Refusal | None:
        """Check that the grant of these ids exists, or refuse the start, within kubelet's 30 s."""
        # If a List freed the ids of a pod that is being deleted, kubelet would give them to another pod as well.
        with self._services.holdings.answering():
            return self._services.prestart.check(tuple(device_ids))

    def reconcile(self) -> None:
        """Confirm and release claims, end open runs. Called by one thread at a time, every few seconds.

        Where `start` has not succeeded yet, or the driver was gone since, it starts first. Raises the driver's error
        when the node could not be read, after all the rest.
        """
        if not self.parts.conditions.now.restored:
            for message in self.start():
                self.parts.log.info("started", text=message)
        self._services.reconciler.run()

    def reconfigure(self, config: Config) -> list[str]:
        """Use this configuration from now on. Idle GPUs change their mode; for others the change is pending."""
        self._services.decider.reconfigure(config)
        messages = self._services.modes.set_all() if self.parts.conditions.now.restored else []
        self.parts.publisher.publish()
        return messages

    def set_health(self, gpu_uuid: str, problem: str) -> None:
        """Mark a GPU as sick, or as healthy with an empty problem."""
        self.parts.conditions.set_sick(gpu_uuid, problem)
        self.parts.publisher.publish()

    def listen(self, listener: Callable[[], None]) -> None:
        """Call this after every publication, from any thread; it must not block."""
        self.parts.publisher.listen(listener)

    def listen_for_hurry(self, listener: Callable[[], None]) -> None:
        """Call this, from any thread, when an Allocate waits for what `reconcile` may give back; it must not block."""
        self._services.allocator.listen_for_hurry(listener)

    def annotate(self, **notes: str) -> None:
        """Facts of the daemon for the View: registration, library, reload."""
        self.parts.publisher.annotate(**notes)

    def drain(self) -> None:
        """Grant nothing new from now on; calls in progress end soon."""
        self._services.decider.closing = True

    def close(self, grace_seconds: float = _GRACE_SECONDS) -> None:
        """Close the node; the next start ends what does not end in time."""
        self.drain()
        self._services.reconciler.close()
        until = time.monotonic() + grace_seconds
        while self._is_busy() and (left := until - time.monotonic()) > 0:
            self.parts.publisher.wait(self.parts.publisher.serial(), min(left, _POLL_SECONDS))
        if not self._closed:
            self._closed = True
            self.parts.close()

    def _is_busy(self) -> bool:
        return bool(self._services.allocator.inside or self.parts.is_busy())
