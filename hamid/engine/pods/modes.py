# SPDX-License-Identifier: Apache-2.0
"""MIG modes: an idle GPU gets its configured mode; a GPU with claims keeps the mode that they need."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from hamid.core.claims.claim import Claim
from hamid.core.config.config import Mode
from hamid.core.hardware.gpu import Gpu
from hamid.core.planner.eligibility import HasInstances, is_served, switch_obstacle
from hamid.core.planner.plan import switch_mode
from hamid.core.planner.reasons import ClientsRunning, NotMigCapable
from hamid.engine.driver.conditions import ConditionsInForce, CurrentConfig
from hamid.engine.driver.publisher import Publisher
from hamid.engine.driver.readings import Readings
from hamid.engine.driver.turns import Turns
from hamid.engine.steps.run import Runs, messages_of, problems_of
from hamid.node.ledger.ledger import Ledger

_MOST_NAMED = 3


class ModeSetter:
    """Switches the MIG mode of GPUs."""

    def __init__(
        self,
        *,
        config: CurrentConfig,
        ledger: Ledger,
        readings: Readings,
        conditions: ConditionsInForce,
        publisher: Publisher,
        runs: Runs,
        turns: Turns,
    ) -> None:
        self._config = config
        self._ledger = ledger
        self._readings = readings
        self._conditions = conditions
        self._publisher = publisher
        self._runs = runs
        self._turns = turns

    def set_all(self) -> list[str]:
        """Switch idle GPUs to their configured mode, each independently; return messages about results and failures.

        A GPU whose mode cannot change now is shown as pending.
        """
        gpus = self._readings.gpus()
        with ThreadPoolExecutor(max(len(gpus), 1), "mode") as pool:
            messages = list(pool.map(self._set_in_turn, gpus))
        self._publisher.publish()
        return [each for on_gpu in messages for each in on_gpu]

    def _set_in_turn(self, gpu: Gpu) -> list[str]:
        """Set one GPU's mode. A reload and a reconciliation may run at once, so the wanted mode is read in turn."""
        with self._turns.in_turn(f"mode of {gpu.uuid}"):
            return self._set(self._readings.gpu(gpu.index) or gpu)

    def _set(self, gpu: Gpu) -> list[str]:
        config, claims = self._config.value, self._ledger.facts().claims
        configured = config.mode_of(gpu) is Mode.MIG
        holders = [claim for claim in claims if gpu.uuid in claim.gpu_uuids]
        wanted = _needs_mig(gpu, holders) if holders else configured
        served = config.serves(gpu)
        problem = ""
        if wanted != configured:
            problem = f"it is held by {', '.join(claim.name for claim in holders[:_MOST_NAMED])}"
        messages: list[str] = []
        # A GPU that is not served is not changed, unless a claim holds something on it.
        if is_served(gpu) and gpu.mig_enabled != wanted and (holders or served):
            messages, obstacle = self._switch(gpu, wanted=wanted)
            problem = problem or obstacle
        waits = f"MIG mode {'on' if configured else 'off'} waits: {problem}"
        self._conditions.set_pending(gpu.uuid, waits if problem and served else "")
        return messages

    def _switch(self, gpu: Gpu, *, wanted: bool) -> tuple[list[str], str]:
        """Messages about what was done, and the first obstacle."""
        obstacle = _obstacle(gpu, wanted=wanted)
        if obstacle:
            return [], obstacle
        running = self._runs.carry_out((switch_mode(gpu, enabled=wanted),))
        return messages_of(running), next(iter(problems_of(running)), "")


def _needs_mig(gpu: Gpu, holders: Sequence[Claim]) -> bool:
    """The MIG mode that the claims on a GPU need, independent of the configuration."""
    return any(each.seat.gpu_uuid == gpu.uuid for claim in holders for each in claim.seats)


def _obstacle(gpu: Gpu, *, wanted: bool) -> str:
    match switch_obstacle(gpu, enabled=wanted):
        case NotMigCapable():
            return "this GPU does not support MIG"
        case HasInstances(count=count):
            return f"it has {count} instances; run: hamictl mig clear -i {gpu.index}"
        case ClientsRunning(clients=clients):
            return f"it is in use by {', '.join(map(str, clients[:_MOST_NAMED]))}"
        case None:
            return ""
