# SPDX-License-Identifier: Apache-2.0
"""Beside HAMi-core in one region: its processes, which `hami` plays, keep their slots and count while they live."""

import ctypes
import mmap
import os
import struct
import time
from pathlib import Path

import pytest
from support import hami
from support.narrow import exactly
from support.sharing import MIB, close
from support.waiting import is_blocked_in, until

from hamid.core.claims.claim import Claim, ClaimedShare, PodOwner
from hamid.core.claims.container_request import ContainerRequest
from hamid.core.config.config import Config
from hamid.core.library.region import OWN_OFFSET, Region
from hamid.engine.pods import share_folders
from hamid.engine.pods.share_usage import in_use
from hamid.node.library.region import is_held, read_region
from hamid.node.paths import Paths


@pytest.fixture
def beside(container):
    """A container whose region a living HAMi-core process made and uses 30 of 100 MiB of, in its first slot."""
    peers = []

    def make(limit=100):
        place = container(limit)
        place.cache.write_bytes(hami.region(limit=100 * MIB))
        peers.append(hami.Peer(place.cache))
        writer = hami.Writer(place.cache)
        writer.put(0, hami.slot_of(peers[-1].pid, 30 * MIB))
        return place, writer, peers[-1]

    yield make
    for peer in peers:
        peer.kill()


def shown(client):
    """What the client sees used, once dead ones were looked for."""
    # libvgpu looks only when 20 ms have passed since it looked last; a sleep is never shorter than it says.
    time.sleep(0.03)
    left, total = client("d.info()")
    return (total - left) // MIB


def listed(place):
    return {each.pid: each.used_bytes[0] // MIB for each in exactly(Region, read_region(str(place.cache))).processes}


def test_the_slot_of_a_living_process_is_left_to_it(beside):
    """It keeps every byte of its slot, and what it uses counts against the limit of those who come."""
    place, writer, peer = beside()
    before = writer.slot(0)
    client = place.client()
    assert client(f"d.fill({MIB})") == 70
    assert writer.slot(0) == before
    assert listed(place) == {peer.pid: 30, client.pid: 70}
    client.kill()


def test_the_slot_of_a_dead_process_is_free(beside):
    """Killed beside a client, its bytes are the client's at once; its odd sequence, which holds readers up, is gone."""
    place, writer, peer = beside()
    client = place.client()
    assert shown(client) == 30
    writer.write(hami.PROCESSES + hami.SEQUENCE, struct.pack("<Q", 7))
    peer.process.kill()
    os.waitid(os.P_PID, peer.pid, os.WEXITED | os.WNOWAIT)  # a zombie: its status was not read
    assert client(f"d.fill({MIB})") == 100
    assert writer.slot(0) == bytes(hami.SLOT_SIZE)
    assert listed(place) == {client.pid: 100}
    client.kill()


def test_what_a_process_left_at_its_exit_no_longer_counts(beside):
    """HAMi-core takes its pid out and leaves its figures."""
    place, writer, _ = beside()
    client = place.client()
    assert shown(client) == 30
    writer.end(0)
    assert shown(client) == 0
    client.kill()


def test_the_slots_of_a_former_container_are_free(beside):
    """The process that has its pid now does not map the region, and so counts as a different one."""
    place, writer, peer = beside()
    peer.kill()
    writer.put(0, hami.slot_of(os.getpid(), 30 * MIB))
    client = place.client()
    assert shown(client) == 0
    client.kill()


def test_a_process_that_is_known_by_its_other_pid_lives(beside):
    """HAMi-core does not say in which pid namespace it means its own pid."""
    place, writer, peer = beside()
    gone = place.client()
    gone.kill()
    writer.put(0, hami.slot_of(gone.pid, 30 * MIB, host_pid=peer.pid))
    client = place.client()
    assert shown(client) == 30
    client.kill()


def test_a_process_that_was_moved_into_the_slot_of_a_dead_one_of_ours_keeps_it(beside):
    """The owner's record goes, what stands in the slot stays."""
    place, writer, peer = beside()
    first, second = place.client(), place.client()
    first.kill()
    writer.put(3, hami.slot_of(peer.pid, 30 * MIB))
    writer.put(0, bytes(hami.SLOT_SIZE))
    writer.close_gap(1)
    before = writer.slot(1)
    assert shown(second) == 30
    third = place.client()
    assert (shown(third), writer.slot(1)) == (30, before)
    close(second, third)


def test_a_client_whose_slot_was_moved_is_put_right_at_its_next_allocation(beside):
    """Nothing is lost and nothing counts twice, whether its slot is empty or reused by then."""
    for taken in (False, True):
        place, writer, peer = beside()
        first, client = place.client(), place.client()
        client(f"d.alloc({40 * MIB}) and None")
        first.kill()
        writer.close_gap(1)
        if taken:
            writer.put(2, hami.slot_of(peer.pid, 5 * MIB))
        others = 35 if taken else 30
        client(f"d.alloc({MIB}) and None")
        assert listed(place)[client.pid] == 41
        assert shown(client) == others + 41
        assert not taken or writer.slot(2) == hami.slot_of(peer.pid, 5 * MIB)
        other = place.client()
        assert other(f"d.fill({MIB})") == 100 - others - 41
        close(client, other)


def test_those_who_cannot_be_asked_are_told(beside):
    """The reader names the processes that hold no lock and may live all the same."""
    place, _, peer = beside()
    client = place.client()
    region = exactly(Region, read_region(str(place.cache)))
    assert {each.pid: each.foreign for each in region.processes} == {peer.pid: True, client.pid: False}
    assert region.used_bytes(0) == 30 * MIB
    assert [is_held(str(place.cache), each.slot) for each in region.processes] == [False, True]
    client.kill()


def test_hamid_counts_both_kinds(beside, tmp_path):
    """What the container uses is a living HAMi-core process's too, although no lock says that it lives."""
    place, _, _ = beside()
    client = place.client()
    client(f"d.alloc({10 * MIB}) and None")
    paths, config = Paths(root=str(tmp_path)), Config()
    owner = PodOwner(
        resource="r", device_ids=(), request=ContainerRequest(count=1), folder="pod_main", granted_at=0, boot_id="b"
    )
    share = ClaimedShare(gpu_uuid="GPU-0", memory_mib=100, sm_percent=100)
    folder = Path(share_folders.path_of(paths, config, owner))
    folder.parent.mkdir(parents=True)
    folder.symlink_to(place.cache.parent)
    (use,) = in_use(paths, config, [Claim(id=1, owner=owner, shares=(share,))])[1].devices
    assert use.total_bytes == 40 * MIB
    client.kill()


@pytest.mark.parametrize("limits", [(512, 256), (256, 512), (512, 100)])
def test_the_header_shows_the_limit_in_force(container, limits):
    """In both orders HAMi's monitor reads the smallest limit, which is the one that holds."""
    place = container(limits[0])
    clients = [place.client(CUDA_DEVICE_MEMORY_LIMIT_0=f"{each}m") for each in limits]
    assert [each("d.info()")[1] for each in clients] == [min(limits) * MIB] * 2
    assert hami.Writer(place.cache).limit() == min(limits) * MIB
    close(*clients)


@pytest.mark.parametrize("limit", [60, 200, None])
def test_the_limit_that_hami_core_made_is_one_of_them(beside, limit):
    """The smallest of its and ours holds for all, and is what it reads."""
    place, writer, _ = beside(limit)
    client = place.client()
    smallest = min(limit or 100, 100) * MIB
    assert (client("d.info()")[1], writer.limit()) == (smallest, smallest)
    client.kill()


def test_nothing_of_the_last_process_is_left_in_a_slot(container):
    """Not one byte outside what the next one is: pid, host pid, status."""
    place = container(100)
    first = place.client()
    writer = hami.Writer(place.cache)
    noise = bytearray(b"\x01" * hami.SLOT_SIZE)
    noise[0:4] = struct.pack("<i", first.pid)
    writer.put(0, noise)
    first.kill()
    second = place.client()
    expected = bytearray(hami.slot_of(second.pid, 0, host_pid=second.pid))
    assert writer.slot(0) == expected
    second.kill()


def test_the_records_of_owners_lie_where_the_reader_looks(container):
    """A slot is ours by the pid in its record; another's in it is HAMi-core's."""
    place = container(100)
    client = place.client()
    base = OWN_OFFSET + 16 + 128
    state, _, _, pid = struct.unpack("<QQQq", hami.Writer(place.cache).read(base, 32))
    assert (state, pid) == (1, client.pid)
    client.kill()


@pytest.mark.parametrize("offset", [24, 2_008_920], ids=["of the region", "of its beginning"])
def test_hami_core_finds_semaphores_that_it_can_take(container, offset):
    """Those of a region of ours are what glibc's own functions take for one that is free, between processes."""
    place = container(100)
    close(place.client())
    libc = ctypes.CDLL(None, use_errno=True)
    with place.cache.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        semaphore = (ctypes.c_char * 32).from_buffer(memory, offset)
        assert libc.sem_trywait(semaphore) == 0
        assert libc.sem_trywait(semaphore) == -1, "one alone has it"
        waiting = os.fork()
        if waiting == 0:
            os._exit(0 if libc.sem_wait(semaphore) == 0 else 1)
        until(lambda: is_blocked_in("futex", waiting))
        assert libc.sem_post(semaphore) == 0
        assert os.waitstatus_to_exitcode(os.waitpid(waiting, 0)[1]) == 0
        del semaphore
