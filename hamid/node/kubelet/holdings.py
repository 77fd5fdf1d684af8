# SPDX-License-Identifier: Apache-2.0
"""Which container holds which device ids, by kubelet's pod-resources socket (v1, and v1alpha1 of old kubelets)."""

import os
from typing import Final

from hamid.core.errors import KubeletFailed
from hamid.core.pods.pods import Holding, HoldingList
from hamid.node.kubelet.grpc import Message, pod_resources
from hamid.node.kubelet.pod_source import kubelet_age_seconds
from hamid.node.single_flight import SingleFlight

_TIMEOUT_SECONDS: Final = 2.0


class KubeletHoldings:
    """Asks kubelet; complete once it has been up for `settle_seconds`, since it lists only pods that it met again.

    No answer is older than the question; concurrent questions share one (see SingleFlight).
    """

    def __init__(self, kubelet_dir: str, settle_seconds: float) -> None:
        self._kubelet_dir = kubelet_dir
        self._socket = os.path.join(kubelet_dir, "pod-resources", "kubelet.sock")
        self._settle_seconds = settle_seconds
        self._flight = SingleFlight(self._ask)

    def holdings(self) -> HoldingList:
        """The holdings of now."""
        return self._flight.result()

    def _ask(self) -> HoldingList:
        age = kubelet_age_seconds(self._kubelet_dir)
        try:
            answer = pod_resources(self._socket, _TIMEOUT_SECONDS)
        except KubeletFailed as error:
            return HoldingList(complete=False, problem=error.message)
        settled = age is not None and age >= self._settle_seconds
        problem = "" if settled else "kubelet started only recently"
        return HoldingList(holdings=_holdings(answer), complete=settled, problem=problem)


def _holdings(answer: Message) -> tuple[Holding, ...]:
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for pod in answer.pod_resources:
        for container in pod.containers:
            # v1 gives one entry a NUMA node.
            for device in container.devices:
                key = (pod.namespace, pod.name, container.name, device.resource_name)
                found.setdefault(key, []).extend(device.device_ids)
    return tuple(
        Holding(namespace=namespace, pod=pod, container=container, resource=resource, device_ids=tuple(ids))
        for (namespace, pod, container, resource), ids in found.items()
    )
