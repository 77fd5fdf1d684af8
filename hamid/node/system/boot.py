# SPDX-License-Identifier: Apache-2.0
"""Which boot of the machine this is; instances never outlive it."""

from hamid.node.paths import Paths

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


def boot_id(paths: Paths) -> str:
    """The kernel's boot id; a simulated node may have its own below its root."""
    for path in dict.fromkeys((paths.under(_BOOT_ID), _BOOT_ID)):
        try:
            with open(path, encoding="ascii") as file:
                return file.read().strip()
        except OSError:
            continue
    return ""
