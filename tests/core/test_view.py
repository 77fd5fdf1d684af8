# SPDX-License-Identifier: Apache-2.0
import pytest
from msgspec.structs import replace
from support.values import claim, claimed_seat, gpu, owner

from hamid.core.claims.claim import LedgerFacts
from hamid.core.claims.device_ids import PluginDevice, device_id
from hamid.core.config.config import Config, Mode
from hamid.core.hardware.gpu import Health, Load
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.view import Conditions, GpuView, Observation, View, build

GPU = gpu()
MIG = Config(mode=Mode.MIG, split_count=2)
READY = Conditions(attached=True, restored=True)
NOTHING = LedgerFacts()


def view_of(found=GPU, *, config=MIG, conditions=READY, facts=NOTHING, **fields):
    observed = Observation(gpus=(found,), **fields)
    return build(observed, facts, config, conditions)


def test_a_view_has_everything_that_was_read():
    """Snapshot, claims, devices and configuration of one moment come together in one value."""
    load = Load(memory_used_bytes=5)
    held = claim(1, claimed_seat(GPU, "1g.5gb", 0), by=owner("u", device_id(GPU.uuid, 7)))
    facts = LedgerFacts(claims=(held,), warnings=("a warning",))
    observed = Observation(
        gpus=(GPU,),
        loads={GPU.uuid: load},
        numa_nodes={GPU.uuid: 1},
        simulated=True,
        driver_version="580",
        nvml_version="13",
        observed_at=9.0,
    )
    found = build(observed, facts, replace(MIG, numa_topology=True), READY, held_ids=["x"], notes={"library": "v1"})
    assert found == View(
        snapshot=Snapshot(
            gpus=(GPU,), simulated=True, driver_version="580", nvml_version="13", warnings=("a warning",)
        ),
        gpus=(GpuView(gpu=GPU, mode=Mode.MIG, served=True, load=load),),
        claims=(held,),
        devices=tuple(
            PluginDevice(device_id=device_id(GPU.uuid, number), gpu_uuid=GPU.uuid, healthy=True, numa_node=1)
            for number in (0, 1, 7)
        ),
        config=replace(MIG, numa_topology=True),
        ready=True,
        observed_at=9.0,
        notes={"library": "v1"},
    )


@pytest.mark.parametrize(
    ("attached", "restored", "ready"), [(True, True, True), (True, False, False), (False, True, False)]
)
def test_a_node_is_ready_when_it_is_read_and_restored(attached, restored, ready):
    """A driver that answers and claims that have their instances are both needed."""
    assert view_of(conditions=Conditions(attached=attached, restored=restored)).ready is ready


LOST = replace(GPU, health=Health.LOST, note="fell off")
SICK = replace(READY, sick={GPU.uuid: "Xid 79"}, pending={GPU.uuid: "waits until it is idle"})


@pytest.mark.parametrize(
    ("found", "config", "conditions", "healthy", "problem", "pending"),
    [
        (GPU, MIG, READY, True, "", ""),
        (LOST, MIG, SICK, False, "the driver does not serve it: fell off", "waits until it is idle"),
        (GPU, MIG, SICK, False, "Xid 79", "waits until it is idle"),
        (GPU, MIG, Conditions(node={"driver": "no driver"}), False, "no driver", ""),
        (GPU, MIG, Conditions(attached=True, node={"driver": "no driver"}), True, "", ""),
        (GPU, Config(), READY, True, "MIG mode is on, but the configured mode is hami-core", ""),
        (gpu(mig=False), MIG, READY, True, "MIG mode is off, but the configured mode is mig", ""),
        (
            gpu(mig=False),
            MIG,
            replace(READY, pending={GPU.uuid: "waits until it is idle"}),
            True,
            "waits until it is idle",
            "waits until it is idle",
        ),
    ],
)
def test_what_keeps_a_gpu_from_new_containers(found, config, conditions, healthy, problem, pending):
    """The driver's word comes first, then sickness; a mode that differs closes the GPU without making it unhealthy."""
    (each,) = view_of(found, config=config, conditions=conditions).gpus
    assert (each.healthy, each.problem, each.pending) == (healthy, problem, pending)


def test_devices_of_a_closed_gpu_stay_usable_where_they_are_held():
    """On a GPU in the wrong mode only free ids are unhealthy; ids that kubelet or a claim holds are not."""
    held = claim(1, by=owner("u", device_id(GPU.uuid, 0)))
    found = build(
        Observation(gpus=(GPU,)),
        LedgerFacts(claims=(held, claim(2))),
        Config(split_count=3),
        READY,
        held_ids=[device_id(GPU.uuid, 1), device_id("GPU-gone", 0)],
    )
    assert [each.healthy for each in found.devices] == [True, True, False]


def test_a_filtered_or_nameless_gpu_has_no_devices():
    """A GPU that hamid leaves alone, or whose uuid the driver does not tell, is not advertised."""
    assert view_of(config=replace(MIG, filter_indexes=(0,))).devices == ()
    assert view_of(replace(GPU, uuid="")).devices == ()


def test_a_claim_is_named_by_its_id():
    """An id without a claim is shown as it is."""
    found = View(claims=(claim(3),))
    assert [found.claim_name(number) for number in (3, 4)] == ["claim3", "4"]


def test_notes_are_added_replaced_and_taken_out():
    """An empty note removes the fact, all others stay."""
    found = View(notes={"a": "1", "b": "2"}).with_notes(b="3", a="", c="4")
    assert found.notes == {"b": "3", "c": "4"}
