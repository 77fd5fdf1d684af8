# SPDX-License-Identifier: Apache-2.0
"""The region as HAMi-core and our libvgpu write it (native/libvgpu/region/layout.h), and files of any other content."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.narrow import exactly

from hamid.core.library.region import (
    DEVICES,
    MAGIC,
    OWN_MAGIC,
    OWN_OFFSET,
    SLOTS,
    V1_SIZE,
    WHOLE_SIZE,
    NoRegion,
    Region,
    RegionProcess,
    Use,
    decode,
)

# Offsets of the layout, written down once more: a test that took them from the reader would prove nothing.
UUIDS, LIMITS, SM_LIMITS, PROCESSES, COUNT, LAST_KERNEL = 64, 1600, 1728, 1856, 2_008_896, 2_008_912
OWNERS = OWN_OFFSET + 16 + DEVICES * 8
MOST = 1 << 50
NOTHING = (0,) * DEVICES


class Bytes:
    """A region's bytes, in HAMi-core's layout or with our block behind it."""

    def __init__(self, *, ours=True, magic=MAGIC, major=1, minor=2, count=0):
        self.data = bytearray(WHOLE_SIZE if ours else V1_SIZE)
        self.ours = ours
        struct.pack_into("<iII", self.data, 0, magic, major, minor)
        self.put("<i", COUNT, count)
        if ours:
            self.put("<Q", OWN_OFFSET, OWN_MAGIC)

    def put(self, form, offset, *values):
        struct.pack_into(form, self.data, offset, *values)
        return self

    def limit(self, device, value):
        """A limit in HAMi-core's place and, where there is one, in ours, which is the one in force."""
        self.put("<Q", LIMITS + 8 * device, value if not self.ours else 1)
        return self.put("<Q", OWN_OFFSET + 16 + 8 * device, value) if self.ours else self

    def process(self, slot, pid, *, status=1, owner=None, device=0, figures=(0, 0, 0, 0, 0), sm=0):
        base = PROCESSES + 1960 * slot
        self.put("<i", base, pid).put("<i", base + 1928, status)
        self.put("<5Q", base + 8 + 64 * device, *figures)
        self.put("<Q", base + 1160 + 48 * device + 16, sm)
        if owner is not None:
            self.put("<Q", OWNERS + 32 * slot, 1).put("<Q", OWNERS + 32 * slot + 24, owner)
        return self

    def read(self):
        return decode(bytes(self.data))


FIGURES = st.tuples(*[st.integers(0, MOST)] * 5)


@given(
    st.booleans(),
    st.lists(st.tuples(st.integers(0, DEVICES - 1), FIGURES, st.integers(0, 100)), max_size=4),
    st.lists(st.integers(0, MOST), min_size=DEVICES, max_size=DEVICES),
)
def test_a_region_is_read_as_it_was_written(ours, processes, limits):
    """Limits, processes and what each uses come back, by either library, and their sum is what a device has in use."""
    data = Bytes(ours=ours, count=len(processes))
    for device, value in enumerate(limits):
        data.limit(device, value)
    expected = []
    for slot, (device, figures, sm) in enumerate(processes):
        data.process(slot, 100 + slot, owner=100 + slot if ours else None, device=device, figures=figures, sm=sm)
        context, module, buffer, _, total = figures
        use = Use(total, context, module, buffer, sm)
        used = tuple(use if each == device else Use() for each in range(DEVICES))
        expected.append(RegionProcess(slot=slot, pid=100 + slot, used=used, foreign=not ours))
    found = exactly(Region, data.read())
    assert (found.ours, found.minor, found.limit_bytes, found.doubtful) == (ours, 2, tuple(limits), ())
    assert found.processes == tuple(expected)
    for each in range(DEVICES):
        assert found.used_bytes(each) == sum(figures[4] for device, figures, _ in processes if device == each)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", f"it has 0 bytes, a region of HAMi-core 1.x has {V1_SIZE}"),
        (bytes(V1_SIZE), "no process has created it yet"),
        (bytes(Bytes(magic=7).data), f"its magic is 7, not {MAGIC}"),
        (bytes(Bytes(major=2, minor=5).data), "its version is 2.5; versions 1.x can be read"),
    ],
)
def test_what_is_no_region_says_why(data, why):
    """A short file, an empty one, another file, and a later layout are told apart."""
    assert decode(data) == NoRegion(why)


def test_our_block_counts_only_whole_and_with_its_mark():
    """Without the mark, or cut off by a byte, the region is HAMi-core's and its limits are the ones in force."""
    whole = Bytes().limit(0, 500)
    assert exactly(Region, whole.read()).limit_bytes[0] == 500
    cut = exactly(Region, decode(bytes(whole.data[:-1])))
    assert (cut.ours, cut.limit_bytes[0]) == (False, 1)
    unmarked = exactly(Region, whole.put("<Q", OWN_OFFSET, 0).read())
    assert (unmarked.ours, unmarked.limit_bytes[0]) == (False, 1)


@pytest.mark.parametrize(
    ("text", "uuid"),
    [(b"GPU-a", "GPU-a"), (b"", ""), (b"x" * 96, "x" * 96), (b"\xff", ""), (b"a\nb", ""), (b"a\0b", "a")],
)
def test_a_devices_uuid_is_printable_or_nothing(text, uuid):
    """Every process of the container can write there, so that only plain ASCII is believed."""
    data = Bytes()
    data.data[UUIDS + 96 : UUIDS + 96 + len(text)] = text
    assert exactly(Region, data.read()).uuids[1] == uuid


@pytest.mark.parametrize(
    ("ours", "slot", "seen"),
    [
        (True, {"pid": 7, "owner": 7}, (7, False)),
        (True, {"pid": 7, "owner": 8}, (7, True)),
        (True, {"pid": 7}, (7, True)),
        (True, {"pid": 0, "owner": 7}, None),
        (True, {"pid": 7, "owner": 7, "status": 0}, None),
        (False, {"pid": 7}, (7, True)),
        (False, {"pid": 0}, (0, True)),
        (False, {"pid": 7, "status": 0}, None),
    ],
)
def test_whose_a_slot_is(ours, slot, seen):
    """A slot that our block does not give to its pid is HAMi-core's, and one that was emptied is no process."""
    found = exactly(Region, Bytes(ours=ours, count=1).process(0, slot.pop("pid"), **slot).read())
    assert [(each.pid, each.foreign) for each in found.processes] == ([] if seen is None else [seen])


def test_figures_that_cannot_be_are_left_out_and_named():
    """No GPU has more than a pebibyte; such a figure counts as 0, percents end at 100, times in some thousand years."""
    big = MOST + 1
    data = Bytes(count=1).limit(3, big).process(0, 7, owner=7, device=2, figures=(big, big, big, 0, big), sm=900)
    data.put("<Q", SM_LIMITS + 8, 300).put("<Q", LAST_KERNEL, 1 << 63)
    found = exactly(Region, data.read())
    assert found.doubtful == (
        f"limit of device 3 is {big}",
        f"slot 0, device 2 is {big}",
        f"slot 0, device 2 context is {big}",
        f"slot 0, device 2 module is {big}",
        f"slot 0, device 2 buffer is {big}",
    )
    assert found.limit_bytes == NOTHING
    assert found.processes[0].used[2] == Use(sm_percent=100)
    assert found.processes[0].used_bytes == NOTHING
    assert found.sm_percent[:3] == (0, 100, 0)
    assert found.last_kernel_at == 1 << 40


@pytest.mark.parametrize(("count", "slots"), [(-1, 0), (SLOTS + 1, SLOTS), (-(2**31), 0), (2**31 - 1, SLOTS)])
def test_a_number_of_processes_that_cannot_be_is_named(count, slots):
    """The slots that there are get read all the same, and no others."""
    found = exactly(Region, Bytes(ours=False, count=count).process(0, 7).process(SLOTS - 1, 8).read())
    assert found.doubtful == (f"the number of processes is {count}",)
    assert [each.pid for each in found.processes] == ([7, 8] if slots else [])


@given(st.lists(st.tuples(st.integers(0, (WHOLE_SIZE - 8) // 8), st.integers(0, 2**64 - 1)), max_size=30))
def test_no_bytes_make_the_reader_fail(words):
    """For any content that a container writes, the answer is a value with plausible figures."""
    data = Bytes(count=3).process(0, 7, owner=7)
    for number, word in words:
        data.put("<Q", number * 8, word)
    found = data.read()
    if isinstance(found, Region):
        assert all(0 <= each <= MOST for each in found.limit_bytes)
        assert all(0 <= each <= 100 for each in found.sm_percent)
        assert all(0 <= each <= MOST for process in found.processes for each in process.used_bytes)


@given(st.tuples(*[st.integers(0, 100)] * 5), st.tuples(*[st.integers(0, 100)] * 5))
def test_uses_add_up_figure_by_figure(one, other):
    """The sum of two uses has the sum of each of their figures."""
    assert Use(*one) + Use(*other) == Use(*(a + b for a, b in zip(one, other, strict=True)))
