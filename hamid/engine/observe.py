# SPDX-License-Identifier: Apache-2.0
"""observe: the node as it is, as one immutable Snapshot."""

from hamid.core.claims import merge
from hamid.core.snapshot import Snapshot
from hamid.node import nvml
from hamid.node.paths import Paths


def observe(paths: Paths | None = None) -> Snapshot:
    """Every GPU with its profiles, instances and clients, and with `paths` what the ledger there says of them.

    Raises DriverMissing, NotPermitted or NvmlFailed. A ledger that cannot be read is a warning, and every instance
    then counts as used.
    """
    with nvml.driver():
        driver_version, nvml_version = nvml.versions()
        snapshot = Snapshot(
            gpus=nvml.gpus(),
            simulated=nvml.is_simulated(),
            driver_version=driver_version,
            nvml_version=nvml_version,
        )
    if paths is None:
        return snapshot
    # Late, because sqlite costs start-up.
    from hamid.node.ledger import read_facts  # noqa: PLC0415

    return merge(snapshot, read_facts(paths))
