# SPDX-License-Identifier: Apache-2.0
"""Our answers as kubelet's device checkpoint stores them."""

from collections.abc import Sequence

from msgspec import Struct

from hamid.core.claims.grant import Grant


class Remembered(Struct, frozen=True, kw_only=True):
    """An answer of ours that kubelet stores for one container; its `granted` names no claim."""

    pod_uid: str
    container: str
    resource: str
    device_ids: tuple[str, ...]
    granted: Grant


class RememberedList(Struct, frozen=True, kw_only=True):
    """The answers that kubelet stores, including some of deleted pods; `complete` as in PodList."""

    entries: tuple[Remembered, ...] = ()
    complete: bool
    problem: str = ""

    def of(self, resource: str, device_ids: Sequence[str]) -> tuple[Remembered, ...]:
        """The entries that have one of these ids."""
        ids = set(device_ids)
        return tuple(each for each in self.entries if each.resource == resource and ids & set(each.device_ids))
