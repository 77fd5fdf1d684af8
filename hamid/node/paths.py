# SPDX-License-Identifier: Apache-2.0
"""Every path of the product, derived from one root, and the one place that finds files of our own package."""

import os

from msgspec import Struct

_PACKAGE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


class Paths(Struct, frozen=True):
    """The paths under `root` ("/" on a real node)."""

    root: str = "/"

    def under(self, absolute: str) -> str:
        """An absolute path of the node, moved under the root."""
        return os.path.join(self.root, absolute.lstrip("/"))

    @property
    def config_dir(self) -> str:
        """Configuration: hamid.yaml, its drop-ins, device-config.yaml."""
        return self.under("/etc/hami")

    @property
    def state_dir(self) -> str:
        """What must survive a restart: the ledger."""
        return self.under("/var/lib/hami")

    @property
    def run_dir(self) -> str:
        """What lives as long as the boot: sockets, locks."""
        return self.under("/run/hami")

    @property
    def ledger(self) -> str:
        """Claims, instances of ours and the step journal, as one SQLite file."""
        return os.path.join(self.state_dir, "ledger.db")

    @property
    def library_dir(self) -> str:
        """Where libvgpu lies for the node's containers."""
        return self.under("/usr/local/vgpu")


def native_file(name: str) -> str:
    """The absolute path of a built file of ours, such as `simulator/libnvidia-ml.so.1`."""
    return os.path.join(_PACKAGE, "_native", name)


def data_file(name: str) -> str:
    """The absolute path of a shipped data file, such as `mig-templates.json`."""
    return os.path.join(_PACKAGE, "data", name)
