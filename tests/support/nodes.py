# SPDX-License-Identifier: Apache-2.0
"""hamid's node over a simulated one, with pods and holdings that a test sets."""

from contextlib import contextmanager
from pathlib import Path

import structlog

from hamid.core.claims.container_request import ContainerRequest
from hamid.core.claims.grant import Grant
from hamid.core.claims.which_container import Identified
from hamid.core.config.config import Config, Mode
from hamid.core.planner.request import MemoryMatch, Policy
from hamid.core.pods.pods import Container, Holding, HoldingList, Pod, PodList
from hamid.engine.driver.counters import Counters
from hamid.engine.node import Node
from hamid.node.driver import mutations
from hamid.node.kubelet.checkpoint import Checkpoint
from hamid.node.ledger.ledger import Ledger
from hamid.node.ports import NoPods
from hamid.serve.grpc_status import of_grants
from hamid.testing.kubelet_devices import HeldDevices
from hamid.testing.kubelet_files import CHECKPOINT, checkpoint, write_whole
from support.crash_cases import reach

QUIET = structlog.wrap_logger(structlog.testing.CapturingLogger())
PACKED = {"mode": Mode.MIG, "policy": Policy.PACKED, "memory_match": MemoryMatch.NVML}
RESOURCE = "nvidia.com/gpu"
SHARE = {"mode": Mode.HAMI_CORE}


class World:
    """What kubelet knows: pods, who holds which ids, and which container asks next."""

    def __init__(self, memory_mib=4000, cores_percent=0):
        self.memory_mib = memory_mib
        self.cores_percent = cores_percent
        self.asking = None
        self.known = {}
        self.held = []
        self.complete = True
        self.now = 1000.0
        self.silent = False
        self.held_complete = True
        self.sure = True

    def clock(self):
        return self.now

    def pods(self):
        if self.silent:
            return NoPods().pods()
        return PodList(pods=tuple(self.known.values()), complete=self.complete)

    def holdings(self):
        return HoldingList(holdings=tuple(self.held), complete=self.complete and self.held_complete)

    def identify(self, pods, holdings, claims, device_ids):
        pod, container = self.asking or (None, None)
        request = ContainerRequest(count=len(device_ids), memory_mib=self.memory_mib, cores_percent=self.cores_percent)
        return Identified(pod=pod, container=container, request=request, sure=self.sure)

    def add(self, name, *containers, phase="Running"):
        """A pod; the last of its containers asks next."""
        made = containers or (Container(name="main"),)
        pod = Pod(uid=f"uid-{name}", namespace="default", name=name, phase=phase, containers=made)
        self.known[name] = pod
        self.asking = (pod, made[-1])
        return pod

    def hold(self, name, device_ids, container="main"):
        """Kubelet says that this container holds the ids."""
        self.held.append(
            Holding(namespace="default", pod=name, container=container, resource=RESOURCE, device_ids=tuple(device_ids))
        )

    def end(self, name, phase="Succeeded"):
        """The pod is over and holds nothing."""
        pod = self.known[name]
        self.known[name] = Pod(uid=pod.uid, namespace=pod.namespace, name=name, phase=phase, containers=pod.containers)
        self.held = [each for each in self.held if each.pod != name]

    def remove(self, name):
        """The pod is gone from the list."""
        del self.known[name]
        self.held = [each for each in self.held if each.pod != name]


class LateWorld(World):
    """Kubelet's next list arrives late: `meanwhile["pods"]` or `["holdings"]` runs after the list was made."""

    def __init__(self):
        super().__init__()
        self.meanwhile = {}

    def pods(self):
        return self._late("pods", super().pods())

    def holdings(self):
        return self._late("holdings", super().holdings())

    def _late(self, what, answer):
        self.meanwhile.pop(what, lambda: None)()
        return answer


def open_node(scene, world=None, **settings):
    """A node that has not started."""
    world = world or World()
    config = Config(**{**PACKED, **settings})
    return Node(
        scene.paths,
        config,
        identify=world.identify,
        pods=world,
        holdings=world,
        log=QUIET,
        counters=Counters(),
        clock=world.clock,
        memory=Checkpoint(plugin_folder(scene)),
    )


def plugin_folder(scene):
    """Where kubelet keeps its checkpoint."""
    return str(scene.root / "var/lib/kubelet/device-plugins")


def remember(scene, *told):
    """Kubelet writes its checkpoint: (pod uid, container, ids, the grant that it got)."""
    held = [
        HeldDevices(
            pod_uid=uid,
            container=container,
            resource=RESOURCE,
            ids=list(device_ids),
            answer=of_grants((grant,)).container_responses[0].SerializeToString(),
        )
        for uid, container, device_ids, grant in told
    ]
    folder = Path(plugin_folder(scene))
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / CHECKPOINT, checkpoint(held, {}, numa=True))


def told(node):
    """What kubelet's checkpoint has of every claim."""
    return [
        (claim.owner.uid, claim.owner.container, claim.owner.device_ids, node.parts.ledger.granted(claim.id))
        for claim in sorted(node.view.claims, key=lambda claim: claim.id)
    ]


def lose_ledger(scene):
    """The ledger's files are deleted; what tells that there was one stays."""
    for tail in ("", "-wal", "-shm"):
        Path(f"{scene.paths.ledger}{tail}").unlink(missing_ok=True)


@contextmanager
def running(scene, world=None, **settings):
    """A started node, closed at the end."""
    node = open_node(scene, world, **settings)
    try:
        node.start()
        yield node
    finally:
        node.close()


def ids(node, count=1, gpu=0):
    """Ids of a GPU's parts that no claim holds."""
    held = {each for claim in node.view.claims if claim.owner for each in claim.owner.device_ids}
    uuid = node.view.gpus[gpu].gpu.uuid
    free = [each.device_id for each in node.devices() if each.gpu_uuid == uuid and each.device_id not in held]
    return tuple(free[:count])


def install_library(scene):
    """A file that stands for libvgpu where hamid looks for it."""
    folder = scene.root / "usr/local/vgpu"
    folder.mkdir(parents=True)
    (folder / "libvgpu.so").write_bytes(b"\x7fELF")
    (folder / "ld.so.preload").write_text("/usr/local/vgpu/libvgpu.so\n")


def foreign(layout):
    """Prepares foreign instances on the first GPU."""

    def prepare(scene):
        reach({0: layout})(scene)
        ledger = Ledger.open(scene.paths)
        for own in ledger.facts().own:
            ledger.forget(own.seat)
        ledger.close()

    return prepare


def destroy_all(scene):
    """Another program destroys every instance of the first GPU."""
    gpu = scene.observe().gpus[0]
    mutations.start_driver()
    for each in gpu.instances:
        mutations.destroy_compute_instance(gpu.uuid, gpu.index, each.profile_id, each.placement.start)
        mutations.destroy_gpu_instance(gpu.uuid, gpu.index, each.profile_id, each.placement.start)
    mutations.stop_driver()


def grant(node, world, name, count=1):
    """Pod `name` gets what it asks, and kubelet confirms it."""
    world.add(name)
    chosen = ids(node, count)
    outcome = node.allocate(chosen)
    assert isinstance(outcome, Grant), outcome
    world.hold(name, chosen)
    return outcome


def names(node):
    return sorted(claim.owner.name for claim in node.view.claims)
