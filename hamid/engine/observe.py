# SPDX-License-Identifier: Apache-2.0
"""observe: the node as it is, as one immutable Snapshot."""

from hamid.core.snapshot import Snapshot
from hamid.node import nvml


def observe() -> Snapshot:
    """Every GPU with its profiles, instances and clients. Raises DriverMissing, NotPermitted or NvmlFailed."""
    with nvml.driver():
        driver_version, nvml_version = nvml.versions()
        return Snapshot(
            gpus=nvml.gpus(),
            simulated=nvml.is_simulated(),
            driver_version=driver_version,
            nvml_version=nvml_version,
        )
