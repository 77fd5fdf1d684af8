# SPDX-License-Identifier: Apache-2.0
"""Under a limit that is never reached, a program cannot tell libvgpu from the driver alone."""

import random

import pytest
from support.sharing import MIB, close

HUGE = 1 << 40 >> 20
STEPS = 160
MAKE = (
    "d.alloc({size})",
    "d.get('cuMemAllocManaged', ctypes.c_size_t({size}), {flag})",
    "d.get('cuMemAllocAsync', ctypes.c_size_t({size}), None)",
    "d.get('cuMemAllocAsync_ptsz', ctypes.c_size_t({size}), None)",
    "d.get('cuMemAllocFromPoolAsync', ctypes.c_size_t({size}), ctypes.c_void_p(d.pool()), None)",
    "d.get('cuMemAllocPitch_v2', ctypes.byref(u64()), ctypes.c_size_t({size} % 5000), ctypes.c_size_t(7), 4)",
    "d.physical({size})",
    "d.array({size} % 900, {flag} * 40)",
    "d.mipmap({size} % 500, {flag} + 1)",
    # Memory of graphs counts from instantiation, which the driver takes at the launch: test_families.
    "d.map({handle}, 2097152)",
)
END = (
    "d.code('cuMemFree_v2', u64({handle}))",
    "d.code('cuMemFreeAsync', u64({handle}), None)",
    "d.code('cuMemFreeAsync_ptsz', u64({handle}), None)",
)
# These take a handle of their own kind: the driver is no judge of others.
END_OF_KIND = {
    6: "d.code('cuMemRelease', u64({handle}))",
    7: "d.code('cuArrayDestroy', ctypes.c_void_p({handle}))",
    8: "d.code('cuMipmappedArrayDestroy', ctypes.c_void_p({handle}))",
    9: "d.code('cuMemUnmap', u64({handle}), ctypes.c_size_t(2097152))",
}
LOOK = (
    "d.info()",
    "d.get('cuDeviceTotalMem_v2', 0)",
    "d.code('cuMemGetInfo_v2', None, None)",
    "d.code('cuMemAlloc_v2', None, ctypes.c_size_t(512))",
    "d.code('cuMemAlloc_v2', ctypes.byref(u64()), ctypes.c_size_t(0))",
    "d.code('cuMemAllocAsync', None, ctypes.c_size_t(512), None)",
    "d.code('cuMemCreate', None, ctypes.c_size_t(2097152), None, u64(0))",
    "d.code('cuArray3DCreate_v2', None, None)",
    "d.code('cuMemFree_v2', u64(12345))",
    "d.code('cuMemRelease', u64(0))",
    "d.resolve(b'cuMemFree', 12000)[::2]",
    "d.code('cuDeviceGraphMemTrim', 0)",
    "d.code('cuCtxSynchronize')",
)


def next_step(chance, held):
    """An expression, and what it makes: (text, kind or None). Handles stand there by number."""
    turn = chance.random()
    if turn < 0.45:
        kind = chance.randrange(len(MAKE))
        physical = [number for number, each in held.items() if each == 6]
        if kind == 9 and not physical:
            kind = 6
        size = chance.choice([1, 512, 4096, MIB, 2 * MIB, 2 * MIB, 3 * MIB + 7, 0])
        handle = f"d.h[{chance.choice(physical)}]" if kind == 9 else ""
        size = 2 * MIB if kind == 6 else size
        return MAKE[kind].format(size=size, flag=chance.randrange(1, 3), handle=handle), kind
    if turn < 0.85 and held:
        number = chance.choice(sorted(held))
        kind = held.pop(number)
        text = END_OF_KIND.get(kind) or chance.choice(END)
        return text.format(handle=f"d.h[{number}]"), None
    return chance.choice(LOOK), None


def run(client, script):
    """What every step answered: codes and figures; of what was made only that it was."""
    client("setattr(d, 'h', [])")
    answers = []
    for text, kind in script:
        answer = client(text if kind is None else f"d.h.append({text})")
        if kind is not None and answer is not None:
            client("d.h.append(0)")
        answers.append((text, answer))
    return answers


@pytest.mark.parametrize("seed", [*range(6), *(pytest.param(seed, marks=pytest.mark.full) for seed in range(6, 80))])
def test_results_and_the_drivers_state_are_the_same(container, seed):
    """Random sequences of calls, right ones and wrong ones: the same codes, figures and memory in the end."""
    chance = random.Random(seed)
    held: dict[int, str] = {}
    script: list[tuple[str, str | None]] = []
    for _ in range(STEPS):
        text, kind = next_step(chance, held)
        if kind is not None:
            held[sum(each[1] is not None for each in script)] = kind
        script.append((text, kind))
    found = []
    for preload in (True, False):
        place = container(HUGE)
        client = place.client(preload=preload)
        found.append((run(client, script), place.used()))
        close(client)
    ours, bare = found
    assert [each for each in zip(ours[0], bare[0], strict=True) if each[0] != each[1]] == []
    assert ours[1] == bare[1]
