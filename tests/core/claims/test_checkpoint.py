# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from hamid.core.claims.checkpoint import Remembered, RememberedList
from hamid.core.claims.grant import Grant

IDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), unique=True)


@given(st.lists(st.tuples(st.sampled_from(["gpu", "other"]), IDS)), IDS)
def test_entries_are_found_by_any_of_their_ids(entries, wanted):
    """An entry counts for a question when it has one of the ids under the same resource."""
    kept = tuple(
        Remembered(pod_uid=str(n), container="c", resource=resource, device_ids=tuple(ids), granted=Grant(claim=0))
        for n, (resource, ids) in enumerate(entries)
    )
    found = RememberedList(entries=kept, complete=True).of("gpu", wanted)
    assert [each.pod_uid for each in found] == [
        str(n) for n, (resource, ids) in enumerate(entries) if resource == "gpu" and not set(ids).isdisjoint(wanted)
    ]
