# SPDX-License-Identifier: Apache-2.0
"""A library that was installed survives a power cut at any moment: whole files under their names, old or new."""

import pytest
from support.durability import DurabilityCalls

from hamid.core.library.plan import TEMPORARY
from hamid.engine.library.sync import rollback, sync

# The next run reads every file again where this one is missing or damaged.
STAT_CACHE = "stat-cache.json"


def run(store, scenario, calls):
    if scenario == "first":
        sync(str(store.dest), str(store.first), calls=calls)
    elif scenario == "second":
        sync(str(store.dest), str(store.first))
        sync(str(store.dest), str(store.second), calls=calls)
    else:
        sync(str(store.dest), str(store.first))
        sync(str(store.dest), str(store.second))
        rollback(str(store.dest), "v1", calls=calls)


@pytest.mark.parametrize("scenario", ["first", "second", "rollback"])
def test_every_file_is_on_disk_before_it_gets_its_name(store, scenario):
    """No rename comes before the fsync of its file: after a power cut a name has a whole file, the old or the new."""
    calls = DurabilityCalls(TEMPORARY, ignored=STAT_CACHE)
    run(store, scenario, calls)
    assert calls.lost == []


@pytest.mark.parametrize("scenario", ["first", "second", "rollback"])
def test_every_name_is_on_disk_when_the_sync_returns(store, scenario):
    """The directories were flushed after the last rename: what was said to be installed is there after a power cut."""
    calls = DurabilityCalls(TEMPORARY, ignored=STAT_CACHE)
    run(store, scenario, calls)
    assert calls.unsynced == []
