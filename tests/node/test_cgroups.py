# SPDX-License-Identifier: Apache-2.0
"""Where the cgroups of pods are, and what became of them, in every way in which kubelet and runc lay them out."""

import shutil

import pytest

from hamid.node.paths import Paths
from hamid.node.system.cgroups import PodCgroups, busy

UID = "33905ca6-2805-4806-ac89-3a197cf93d91"
LAYOUTS = {
    "v1, cgroupfs": "memory/kubepods/besteffort/pod{uid}",
    "v1 beside v2": "unified/kubepods/pod{uid}",
    "v2, systemd": "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{plain}.slice",
    "below a root": "kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{plain}.slice",
}


@pytest.fixture
def tmp_path(tmp_path):
    """A root whose own name has to do with kubelet, which says nothing of its cgroups."""
    (tmp_path / "kube").mkdir()
    return tmp_path / "kube"


@pytest.fixture(params=LAYOUTS)
def pod_cgroup(request, tmp_path):
    return tmp_path / "sys/fs/cgroup" / LAYOUTS[request.param].format(uid=UID, plain=UID.replace("-", "_"))


def containers(path, processes):
    """Its container's cgroup, with what the kernel would say of these processes."""
    (path / "c1").mkdir(parents=True, exist_ok=True)
    (path / "cgroup.procs").write_text("")
    (path / "c1" / "cgroup.procs").write_text(processes)


def test_a_cgroup_is_busy_empty_and_gone_in_turn_in_every_layout(pod_cgroup, tmp_path):
    """What was never there has no state; what is gone stays so until its pod is asked about no more."""
    paths = Paths(str(tmp_path))
    watch = PodCgroups(paths)
    pod_cgroup.parent.mkdir(parents=True)
    assert watch.gone({UID}, {UID}) == {}
    containers(pod_cgroup, "4711\n")
    assert watch.gone({UID}, {UID}) == {UID: False}
    assert watch.gone({UID}, ()) == {}
    containers(pod_cgroup, "")
    assert watch.gone({UID}, {UID}) == {UID: False}
    assert not busy(paths, UID)
    shutil.rmtree(pod_cgroup)
    assert watch.gone({UID}, {UID}) == {UID: True}
    assert watch.gone((), ()) == {}
    assert watch.gone({UID}, {UID}) == {}


def test_a_hierarchy_that_went_away_with_all_of_kubelet_says_nothing(pod_cgroup, tmp_path):
    """Unmounted, not ended."""
    watch = PodCgroups(Paths(str(tmp_path)))
    containers(pod_cgroup, "")
    watch.gone({UID}, ())
    top = tmp_path / "sys/fs/cgroup"
    shutil.rmtree(top)
    top.mkdir()
    assert watch.gone({UID}, {UID}) == {UID: False}


def test_what_one_hierarchy_keeps_does_not_hide_that_another_has_lost_it(tmp_path):
    """Kubelet 1.20 leaves the cgroup that runc made in the second hierarchy; processes in it keep the pod busy."""
    top = tmp_path / "sys/fs/cgroup"
    first, second = top / f"memory/kubepods/pod{UID}", top / f"unified/kubepods/pod{UID}"
    watch = PodCgroups(Paths(str(tmp_path)))
    for each in (first, second):
        containers(each, "")
    watch.gone({UID}, ())
    shutil.rmtree(first)
    assert watch.gone({UID}, {UID}) == {UID: True}
    containers(second, "4711\n")
    assert watch.gone({UID}, {UID}) == {UID: False}
