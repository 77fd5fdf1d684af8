# SPDX-License-Identifier: Apache-2.0
"""The virtual timeline: kernels take the time that the node says, one after another on a device."""

from __future__ import annotations

import pytest

from hamid.node.simulation import control

KERNEL_US = 2000
NOT_READY, INVALID_VALUE, INVALID_HANDLE, NOT_FOUND, INVALID_IMAGE = 600, 1, 400, 500, 200


@pytest.fixture
def slow(node):
    """A node whose kernels take two milliseconds."""
    state = node("1xA100-SXM4-40GB")
    control.set_knob("kernel_us", str(KERNEL_US), state=state)
    return state


def busy_ms(state):
    """What each process took of the device, by pid."""
    return {use.pid: use.busy_ns / 1e6 for use in control.usage(state)}


def test_kernels_take_their_time_in_order(slow, cuda):
    """Five kernels between two events are five kernel times apart, counted to the nanosecond as the process's own."""
    client = cuda(slow)
    function = client("d.kernel()")
    between = client(f"[d.event(), [d.launch({function}) for _ in range(5)], d.event()]")
    assert client("d.code('cuCtxSynchronize')") == 0
    assert client(f"d.elapsed({between[0]}, {between[2]})") >= 5 * KERNEL_US / 1000
    assert busy_ms(slow) == {client.pid: 10.0}
    assert [use.launches for use in control.usage(slow)] == [5]


def test_processes_share_the_time_of_a_device(slow, cuda):
    """Kernels of two processes follow one another: the second's end after both kernel times have passed."""
    first, second = cuda(slow), cuda(slow)
    # The second has 2 s to come while the first is at work.
    control.set_knob("kernel_us", str(5 * KERNEL_US), state=slow)
    function = second("d.kernel()")
    first(f"[d.launch(f) for f in [d.kernel()] * {200}] and 0")
    start, _, end = second(f"[d.event(), d.launch({function}), d.event()]")
    assert second(f"d.code('cuEventQuery', ctypes.c_void_p({end}))") == NOT_READY
    second("d.call('cuCtxSynchronize')")
    assert second(f"d.elapsed({start}, {end})") > 5 * KERNEL_US / 1000 * 2
    assert busy_ms(slow) == {first.pid: 2000.0, second.pid: 10.0}


def test_a_host_function_comes_after_the_kernel(slow, cuda):
    """A stream with work is not ready; its host function is called after the kernel and before the sync returns."""
    client = cuda(slow)
    stream = client("d.get('cuStreamCreate', 1)")
    function = client("d.kernel()")
    for kernel_us in (KERNEL_US, 10 * KERNEL_US, 100 * KERNEL_US, 1000 * KERNEL_US):
        control.set_knob("kernel_us", str(kernel_us), state=slow)
        busy, seen = client(f"d.callback_order({stream}, {function})")
        if busy == NOT_READY:
            break  # else the kernel had ended before a slow machine asked; a longer one is asked about in time
    assert (busy, seen) == (NOT_READY, ["queued", "called", "done"])


def test_a_stream_waits_for_an_event_of_another(slow, cuda):
    """Work behind a wait starts after the event, though its own stream was idle."""
    client = cuda(slow)
    function = client("d.kernel()")
    one, other = client("d.get('cuStreamCreate', 1)"), client("d.get('cuStreamCreate', 1)")
    client(f"[d.launch({function}, {one}) for _ in range(3)] and 0")
    event = client(f"d.event({one})")
    client(f"d.call('cuStreamWaitEvent', ctypes.c_void_p({other}), ctypes.c_void_p({event}), 0)")
    last = client(f"d.event({other})")
    client("d.call('cuCtxSynchronize')")
    assert client(f"d.elapsed({event}, {last})") == 0


def test_a_launch_is_checked(slow, cuda):
    """A function that is none, a block too large, a name the code does not have, code that is none: all refused."""
    client = cuda(slow)
    function = client("d.kernel()")
    assert client("d.launch(12345)") == ("cuLaunchKernel", INVALID_HANDLE)
    large = "d.code('cuLaunchKernel', u64({}), 1, 1, 1, {}, 1, 1, 0, None, None, None)"
    assert client(large.format(function, 1025)) == INVALID_VALUE
    assert client(large.format(function, 0)) == INVALID_VALUE
    assert client(large.format(function, 1024)) == 0
    assert client("d.get('cuModuleLoadData', b'no code' + bytes(100))") == ("cuModuleLoadData", INVALID_IMAGE)
    module = client("d.get('cuModuleLoadData', b'.version 8.0 .target sm_80 .entry kernel() {}')")
    assert client(f"d.get('cuModuleGetFunction', u64({module}), b'kern')") == ("cuModuleGetFunction", NOT_FOUND)


def test_a_captured_stream_records_and_a_launch_does_it(slow, cuda):
    """What a stream is asked while it is captured happens at each launch of the graph."""
    client = cuda(slow)
    function, pointer = client("d.kernel()"), client("d.alloc(4096)")
    client(f"d.write({pointer}, b'before')")
    stream = client("d.get('cuStreamCreate', 1)")
    handle = f"ctypes.c_void_p({stream})"
    assert client(f"d.code('cuStreamBeginCapture_v2', {handle}, 0)") == 0
    client(f"d.launch({function}, {stream})")
    fill = f"d.code('cuMemsetD8Async', u64({pointer}), 65, ctypes.c_size_t(6), {handle})"
    assert client(fill) == 0
    graph = client(f"(lambda g: [d.call('cuStreamEndCapture', {handle}, ctypes.byref(g)), g.value][1])(u64())")
    assert client(f"d.read({pointer}, 6)") == b"before"
    assert busy_ms(slow) == {client.pid: 0}
    executable = client(f"d.get('cuGraphInstantiateWithFlags', u64({graph}), u64(0))")
    for _ in range(2):
        assert client(f"d.code('cuGraphLaunch', u64({executable}), {handle})") == 0
    assert client(f"d.read({pointer}, 6)") == b"AAAAAA"
    assert busy_ms(slow) == {client.pid: 4.0}
