# SPDX-License-Identifier: Apache-2.0
"""The changes that are killed: each has a node, what lies on it before, and the change itself."""

from collections.abc import Callable
from dataclasses import dataclass

from hamid.core.errors import UsageError
from hamid.core.hardware.geometry import parse_layout
from hamid.core.planner.plan import CreateInstance
from hamid.core.relayout.change import GpuTarget, plan_change
from hamid.engine.steps.apply import apply
from hamid.engine.steps.restore import release, release_instance, restore
from support.scene import Scene

EMPTY = ""


@dataclass(frozen=True)
class Case:
    """`before` prepares the node, `plan` gives the change as a function; `whole`: it happens as a whole or not at all.

    `faults` are rules of the simulator that hold while the change runs, so that it fails and takes itself back.
    """

    name: str
    spec: str
    before: Callable[[Scene], object]
    plan: Callable[[Scene], Callable[[], object]]
    whole: bool = True
    faults: str = ""


def towards(scene, layouts, *, claim=None, mode=True):
    """The least change to these layouts by GPU index, as a function that applies it."""
    snapshot = scene.observe()
    targets = [
        GpuTarget(gpu_index=index, mig_enabled=mode, layout=parse_layout(layout) if layout else ())
        for index, layout in layouts.items()
    ]
    found = plan_change(snapshot, targets)
    assert not found.blocked, found.gpus
    seats = [
        (step.gpu_uuid, step.profile_id, step.placement.start)
        for step in found.steps
        if claim is not None and isinstance(step, CreateInstance)
    ]
    held = any(each.name == claim for each in scene.facts().claims)
    again = None if held else claim
    return lambda: apply(
        scene.paths, found.steps, fingerprint=found.fingerprint, claim=again, claim_instances=() if held else seats
    )


def reach(layouts, *, claim=None):
    """Prepares a layout."""
    return lambda scene: towards(scene, layouts, claim=claim)()


def change(layouts, *, claim=None, mode=True):
    """The change to a layout."""
    return lambda scene: towards(scene, layouts, claim=claim, mode=mode)


def both(*parts):
    """One preparation after the other."""

    def prepare(scene):
        for part in parts:
            part(scene)

    return prepare


def nothing(scene):
    """The node as it comes."""


def use(profile):
    """A process uses the first instance of that profile for as long as the test runs."""

    def prepare(scene):
        found = [each for gpu in scene.observe().gpus for each in gpu.instances if each.profile == profile]
        scene.use(found[0].mig_uuid)

    return prepare


def let_go(name):
    """The release of a claim; one that is released already is done."""

    def run(scene):
        try:
            release(scene.paths, name)
        except UsageError:
            assert all(claim.name != name for claim in scene.facts().claims)

    return lambda scene: lambda: run(scene)


def let_go_one(profile):
    """The release of one instance; one that is gone already is done."""

    def run(scene):
        found = [each for gpu in scene.observe().gpus for each in gpu.instances if each.profile == profile]
        if found:
            release_instance(scene.paths, found[0].mig_uuid)

    return lambda scene: lambda: run(scene)


def reboot(scene):
    """The node reboots."""
    scene.reboot()


def bring_back(scene):
    """The restore of every claim."""
    return lambda: restore(scene.paths)


NO_RESOURCES = "error:23"  # NVML_ERROR_INSUFFICIENT_RESOURCES
CASES = (
    Case("A30: mode on and two instances", "1xA30", nothing, change({0: "1g.6gb@0,2g.12gb@2"})),
    Case("A30: a claim of two", "1xA30", reach({0: EMPTY}), change({0: "1g.6gb@0,1g.6gb@1"}, claim="job")),
    Case(
        "A100: one kept in use, one destroyed, one created",
        "1xA100-SXM4-40GB",
        both(reach({0: "2g.10gb@0,1g.5gb@6"}), use("2g.10gb")),
        change({0: "2g.10gb@0,3g.20gb@4"}),
    ),
    Case(
        "A100: release of a claim of three",
        "1xA100-SXM4-40GB",
        reach({0: "3g.20gb@4,1g.5gb@0,1g.5gb@1"}, claim="job"),
        let_go("job"),
        whole=False,
    ),
    Case(
        "A100: restore after a reboot",
        "1xA100-SXM4-40GB",
        both(reach({0: "3g.20gb@4,2g.10gb@0"}, claim="job"), reboot),
        bring_back,
        whole=False,
    ),
    Case(
        "H100: restore after a reboot, mode included",
        "1xH100-80GB-SXM5",
        both(reach({0: "1g.10gb@0,2g.20gb@2"}, claim="job"), reboot),
        bring_back,
        whole=False,
    ),
    Case(
        "H100: three destroyed for one",
        "1xH100-80GB-SXM5",
        reach({0: "1g.10gb@0,1g.10gb@1,1g.10gb@2"}),
        change({0: "4g.40gb@0"}),
    ),
    Case(
        "H100: clear and mode off",
        "1xH100-80GB-SXM5",
        reach({0: "3g.40gb@0,3g.40gb@4"}),
        change({0: EMPTY}, mode=False),
    ),
    Case(
        "RTX PRO 6000: two more beside one in use",
        "1xRTX-PRO-6000",
        both(reach({0: "2g.48gb@6"}), use("2g.48gb")),
        change({0: "1g.24gb@0,1g.24gb@3,2g.48gb@6"}),
    ),
    Case(
        "RTX PRO 6000: one instance released",
        "1xRTX-PRO-6000",
        reach({0: "2g.48gb@6,1g.24gb@0"}, claim="job"),
        let_go_one("2g.48gb"),
        whole=False,
    ),
    Case(
        "two GPUs at once",
        "1xA100-SXM4-40GB,1xA30",
        both(reach({0: "7g.40gb@0"}), reach({1: EMPTY})),
        change({0: "3g.20gb@0,3g.20gb@4", 1: "4g.24gb@0"}),
    ),
    Case(
        "A100: a creation fails and everything is taken back",
        "1xA100-SXM4-40GB",
        reach({0: "2g.10gb@0,1g.5gb@6"}),
        change({0: "3g.20gb@0,2g.10gb@4"}),
        faults=f"nvmlGpuInstanceCreateComputeInstance#2={NO_RESOURCES}",
    ),
    Case(
        "H100: a claim fails at its end and the mode goes back",
        "1xH100-80GB-SXM5",
        nothing,
        change({0: "1g.10gb@0,1g.10gb@1"}, claim="job"),
        faults=f"nvmlDeviceCreateGpuInstanceWithPlacement#2={NO_RESOURCES}",
    ),
)
