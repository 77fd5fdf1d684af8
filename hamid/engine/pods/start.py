# SPDX-License-Identifier: Apache-2.0
"""Before anything is granted: interrupted changes are ended, MIG modes set, and what was promised is there.

The law: a mode is changed on an idle GPU alone; a promised instance comes back at its recorded placement or not at
all, and each on its own.
"""

from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from hamid.core.claims.claim import Claim, InstanceKey, instance_at
from hamid.core.claims.journal import describe
from hamid.core.config.config import Mode
from hamid.core.errors import HamiError
from hamid.core.hardware.gpu import Gpu, Health
from hamid.core.planner.steps import CreateInstance, SetMigMode, Step
from hamid.engine.driver.live import Live
from hamid.engine.pods import share_folders
from hamid.engine.pods.release import carry
from hamid.engine.steps.recover import recover_in

_MOST_NAMED = 3


def restore_all(live: Live, over: Collection[str] = ()) -> list[str]:
    """End what was interrupted, set modes, bring back what claims hold but those of pods (uids) that are `over`.

    What was done and what could not be, in words. Raises HamiError when the ledger or the driver fails as a whole.
    """
    for claim in live.ledger.facts().claims:
        if claim.pending:
            share_folders.remove(live.paths, live.config, claim)
    messages = recover_in(live.session)
    live.observe()
    messages += set_modes(live)
    live.observe()
    messages += bring_back(live, over)
    live.restored = True
    live.publish()
    return messages


def bring_back(live: Live, over: Collection[str] = ()) -> list[str]:
    """What claims hold and is missing is made again, but for those of pods (uids) that are `over`; in words."""
    steps = tuple(_missing(live, over))
    if not steps:
        return []
    messages = _carry(live, steps)
    live.observe()
    return messages


def set_modes(live: Live) -> list[str]:
    """Bring idle GPUs to their configured mode, each on its own; what could not be done now is shown as pending."""
    gpus = live.gpus()
    with ThreadPoolExecutor(max(len(gpus), 1), "mode") as pool:
        told = list(pool.map(partial(_set_mode_of, live), gpus))
    live.publish()
    return [message for messages in told for message in messages]


def _set_mode_of(live: Live, gpu: Gpu) -> list[str]:
    configured = live.config.mode_of(gpu) is Mode.MIG
    promised = _promised_mode(live, gpu)
    wanted = configured if promised is None else promised
    served = live.config.serves(gpu)
    problem = f"it is promised to {_holders(live, gpu)}" if wanted != configured else ""
    told: list[str] = []
    # A GPU that is not served is left as it is, unless somebody has a promise on it.
    if gpu.health is Health.OK and gpu.mig_enabled != wanted and (promised is not None or served):
        told, obstacle = _set_mode(live, gpu, wanted=wanted)
        problem = problem or obstacle
    waits = f"MIG mode {'on' if configured else 'off'} waits: {problem}"
    live.set_pending(gpu.uuid, waits if problem and served else "")
    return told


def _promised_mode(live: Live, gpu: Gpu) -> bool | None:
    """The MIG mode that claims on this GPU need, whatever the configuration says now; None without any."""
    claims = [claim for claim in live.ledger.facts().claims if gpu.uuid in claim.gpu_uuids]
    if not claims:
        return None
    return any(each.seat.gpu_uuid == gpu.uuid for claim in claims for each in claim.seats)


def _set_mode(live: Live, gpu: Gpu, *, wanted: bool) -> tuple[list[str], str]:
    """What was done, and what stood in the way."""
    obstacle = _obstacle(gpu, wanted=wanted)
    if obstacle:
        return [], obstacle
    told = _carry(live, (SetMigMode(gpu_uuid=gpu.uuid, gpu_index=gpu.index, enabled=wanted),))
    return told, next((text for text in told if not text.startswith("done: ")), "")


def _holders(live: Live, gpu: Gpu) -> str:
    names = [claim.name for claim in live.ledger.facts().claims if gpu.uuid in claim.gpu_uuids]
    return ", ".join(names[:_MOST_NAMED])


def _obstacle(gpu: Gpu, *, wanted: bool) -> str:
    if wanted and not gpu.mig_capable:
        return "this GPU has no MIG"
    if gpu.instances and not wanted:
        return f"it has {len(gpu.instances)} instances; hamictl mig clear -i {gpu.index}"
    if gpu.clients:
        return f"it is used by {', '.join(map(str, gpu.clients[:_MOST_NAMED]))}"
    return ""


def _missing(live: Live, over: Collection[str]) -> Iterator[Step]:
    by_uuid = {gpu.uuid: gpu for gpu in live.gpus()}
    for claim in live.ledger.facts().claims:
        if claim.owner is not None and claim.owner.uid in over:
            continue
        yield from steps_for(claim, by_uuid)


def steps_for(claim: Claim, by_uuid: dict[str, Gpu]) -> Iterator[Step]:
    """What brings a claim's missing instances back, on GPUs that can have them, and the MIG mode where it is lost."""
    switched = set[str]()
    for each in claim.seats:
        gpu = by_uuid.get(each.seat.gpu_uuid)
        if gpu is None or gpu.health is not Health.OK or _whole(gpu, each.seat):
            continue
        if not gpu.mig_enabled and gpu.uuid not in switched:
            if gpu.clients or gpu.mode_changing or not gpu.mig_capable:
                continue
            switched.add(gpu.uuid)
            yield SetMigMode(gpu_uuid=gpu.uuid, gpu_index=gpu.index, enabled=True)
        yield CreateInstance(
            gpu_uuid=gpu.uuid,
            gpu_index=gpu.index,
            profile=each.profile,
            profile_id=each.seat.profile_id,
            placement=each.placement,
        )


def _whole(gpu: Gpu, seat: InstanceKey) -> bool:
    there = instance_at(gpu, seat)
    return there is not None and there.compute_instances > 0


def _carry(live: Live, steps: tuple[Step, ...]) -> list[str]:
    """Each step by itself; what was done begins with `done: `."""
    running = carry(live, steps)
    done = [f"done: {describe(step)}" for _, step in running.done]
    return [*done, *running.messages, *(_words(error) for error in running.errors)]


def _words(error: Exception) -> str:
    return f"{error.message}; {error.hint}" if isinstance(error, HamiError) and error.hint else str(error)
