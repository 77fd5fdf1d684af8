# SPDX-License-Identifier: Apache-2.0
"""Before anything is granted: interrupted changes are ended, MIG modes set, and what was promised is there.

The law: a mode is changed on an idle GPU alone; a promised instance comes back at its recorded placement or not at
all, and each on its own.
"""

from collections.abc import Collection, Iterator

from hamid.core.claims import Claim, Seat, instance_at
from hamid.core.config import Mode
from hamid.core.errors import HamiError
from hamid.core.gpu import Gpu, Health
from hamid.core.journal import describe
from hamid.core.steps import CreateInstance, SetMigMode, Step
from hamid.engine import folders
from hamid.engine.ending import carry
from hamid.engine.live import Live
from hamid.engine.recover import recover_in


def restore_all(live: Live, over: Collection[str] = ()) -> list[str]:
    """End what was interrupted, set modes, bring back what claims hold but those of pods (uids) that are `over`.

    What was done and what could not be, in words. Raises HamiError when the ledger or the driver fails as a whole.
    """
    for claim in live.ledger.facts().claims:
        if claim.pending:
            folders.remove(live.paths, live.config, claim)
    messages = recover_in(live.session)
    live.observe()
    messages += set_modes(live)
    live.observe()
    steps = tuple(_missing(live, over))
    if steps:
        messages += _carry(live, steps)
        live.observe()
    live.restored = True
    live.publish()
    return messages


def set_modes(live: Live) -> list[str]:
    """Bring idle GPUs to their configured mode; what could not be done now is shown as pending."""
    messages: list[str] = []
    for gpu in live.gpus():
        wanted = live.config.mode_of(gpu) is Mode.MIG
        live.set_pending(gpu.uuid, "")
        if gpu.health is not Health.OK or not live.config.serves(gpu) or gpu.mig_enabled == wanted:
            continue
        problem = _obstacle(live, gpu, wanted=wanted)
        if not problem:
            told = _carry(live, (SetMigMode(gpu_uuid=gpu.uuid, gpu_index=gpu.index, enabled=wanted),))
            messages += told
            problem = next((text for text in told if not text.startswith("done: ")), "")
        if problem:
            live.set_pending(gpu.uuid, f"MIG mode {'on' if wanted else 'off'} waits: {problem}")
    live.publish()
    return messages


def _obstacle(live: Live, gpu: Gpu, *, wanted: bool) -> str:
    if wanted and not gpu.mig_capable:
        return "this GPU has no MIG"
    claims = [claim.name for claim in live.ledger.facts().claims if gpu.uuid in claim.gpu_uuids]
    if claims and not (wanted and _only_lost(live, gpu)):
        return f"it is promised to {', '.join(claims[:3])}"
    if gpu.instances and not wanted:
        return f"it has {len(gpu.instances)} instances; hamictl mig clear -i {gpu.index}"
    if gpu.clients:
        return f"it is used by {', '.join(map(str, gpu.clients[:3]))}"
    return ""


def _only_lost(live: Live, gpu: Gpu) -> bool:
    """True when what is promised of a GPU are instances, which went with the mode."""
    return all(not any(x.gpu_uuid == gpu.uuid for x in claim.shares) for claim in live.ledger.facts().claims)


def _missing(live: Live, over: Collection[str]) -> Iterator[Step]:
    by_uuid = {gpu.uuid: gpu for gpu in live.gpus()}
    for claim in live.ledger.facts().claims:
        if claim.owner is not None and claim.owner.uid in over:
            continue
        yield from steps_for(claim, by_uuid)


def steps_for(claim: Claim, by_uuid: dict[str, Gpu]) -> Iterator[CreateInstance]:
    """What brings a claim's missing instances back, on GPUs that can have them."""
    for each in claim.seats:
        gpu = by_uuid.get(each.seat.gpu_uuid)
        if gpu is None or gpu.health is not Health.OK or not gpu.mig_enabled or _whole(gpu, each.seat):
            continue
        yield CreateInstance(
            gpu_uuid=gpu.uuid,
            gpu_index=gpu.index,
            profile=each.profile,
            profile_id=each.seat.profile_id,
            placement=each.placement,
        )


def _whole(gpu: Gpu, seat: Seat) -> bool:
    there = instance_at(gpu, seat)
    return there is not None and there.compute_instances > 0


def _carry(live: Live, steps: tuple[Step, ...]) -> list[str]:
    """Each step by itself; what was done begins with `done: `."""
    running = carry(live, steps)
    done = [f"done: {describe(step)}" for _, step in running.done]
    return [*done, *running.messages, *(_words(error) for error in running.errors)]


def _words(error: Exception) -> str:
    return f"{error.message}; {error.hint}" if isinstance(error, HamiError) and error.hint else str(error)
