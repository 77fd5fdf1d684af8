# SPDX-License-Identifier: Apache-2.0
"""Whose a process is, by its cgroups."""

import pytest

from hamid.node.system.processes import home_in, home_of

ID = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("cgroups", "home"),
    [
        ("0::/system.slice/hamid.service\n", "unit hamid.service"),
        ("0::/system.slice/hamid.service/payload\n", "unit hamid.service"),
        ("12:memory:/\n1:name=systemd:/system.slice/hamid.service\n0::/\n", "unit hamid.service"),
        (f"0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-{ID}.scope\n", f"container {ID[:12]}"),
        (f"4:devices:/kubepods/besteffort/pod1/{ID}\n", f"container {ID[:12]}"),
        (f"0::/system.slice/docker-{ID}.scope\n", f"container {ID[:12]}"),
        (f"0::/system.slice/containerd.service/kubepods-pod1:cri:{ID}\n", f"container {ID[:12]}"),
        ("0::/user.slice/user-0.slice/session-1.scope\n", ""),
        ("0::/\n", ""),
        ("", ""),
        ("0::/" + "a" * 65, ""),
    ],
)
def test_a_process_is_of_its_container_or_its_unit(cgroups, home):
    """In both hierarchies and as all runtimes name them; where neither is told nothing is made up."""
    assert home_in(cgroups) == home


def test_a_process_that_is_gone_has_no_home():
    """It may end at any time."""
    assert home_of(2**22 + 1) == ""
