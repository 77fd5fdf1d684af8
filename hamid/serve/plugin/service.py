# SPDX-License-Identifier: Apache-2.0
"""The five methods that kubelet calls, over the engine's blocking ones.

Each call runs on a thread of a bounded pool. A call that kubelet gives up gives back what it took: either the caller
gets the grants or they are undone, decided once.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sized
from concurrent.futures import ThreadPoolExecutor
from typing import Final, NoReturn, Protocol, TypeVar, TypeVarTuple

import grpc
from google.protobuf.message import DecodeError

from hamid.core.claims.device_ids import PluginDevice
from hamid.core.claims.grant import Grant
from hamid.core.errors import HamiError
from hamid.core.planner.refusal import Refusal
from hamid.node.kubelet.api import deviceplugin_pb2
from hamid.node.kubelet.grpc import Message
from hamid.node.ports import Logger
from hamid.serve import grpc_status
from hamid.serve.plugin.feed import DeviceFeed

Result = TypeVar("Result")
Values = TypeVarTuple("Values")

# Kubelet admits one pod at a time; further calls wait in line instead of taking a thread.
ALLOCATE_THREADS: Final = 64
OTHER_THREADS: Final = 8
# More than any node advertises: 16 GPUs in 128 parts.
_MAX_IDS: Final = 4096
_MAX_CONTAINERS: Final = 128
_MAX_ID_BYTES: Final = 128
# Kubelet waits 30 s for PreStartContainer; the answer must still travel.
PRESTART_SECONDS: Final = 28.0


class GpuNode(Protocol):
    """The engine's methods for the device plugin. All may block and are callable from any thread."""

    def devices(self) -> tuple[PluginDevice, ...]:
        """The devices that kubelet may give to containers."""
        ...

    def prefer(self, available: tuple[str, ...], must_include: tuple[str, ...], size: int) -> tuple[str, ...]:
        """The available ids that the planner would take."""
        ...

    def allocate(self, device_ids: tuple[str, ...], *, deadline_seconds: float | None = None) -> Grant | Refusal:
        """Grant these ids to the container that waits for them."""
        ...

    def undo(self, claim: int) -> None:
        """Undo a grant that was not delivered, by the id of its claim."""
        ...

    def claim_name(self, claim: int) -> str:
        """The name of the claim with this id."""
        ...

    def prestart(self, device_ids: tuple[str, ...]) -> Refusal | None:
        """Verify or restore the grant of these ids."""
        ...


class _Delivery:
    """Grants that are being delivered to a caller who may leave."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left = False
        self._grants: tuple[Grant, ...] = ()

    def deliver(self, grants: tuple[Grant, ...]) -> bool:
        """False if the caller has left."""
        with self._lock:
            self._grants = () if self._left else grants
            return not self._left

    def leave(self) -> tuple[Grant, ...]:
        """Record that the caller is gone; return the grants that were not delivered."""
        with self._lock:
            self._left = True
            return self._grants


class CallContext(Protocol):
    """The call that gRPC is answering."""

    async def abort(self, code: grpc.StatusCode, details: str) -> NoReturn:
        """End the call with a status."""
        ...

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline; None when it has none."""
        ...


class PluginCalls:
    """The engine behind the methods: threads, deadlines, undo; shared by all generations of servers."""

    def __init__(self, node: GpuNode, log: Logger) -> None:
        self.node = node
        self.log = log
        self.deadline_seconds = 25.0
        self.preferred_allocation = True
        self._allocations = ThreadPoolExecutor(ALLOCATE_THREADS, "allocate")
        self._others = ThreadPoolExecutor(OTHER_THREADS, "kubelet")

    async def run(self, call: Callable[[*Values], Result], *values: *Values) -> Result:
        """Run a blocking call of the engine on a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._others, call, *values)

    async def allocate(self, requests: list[tuple[str, ...]], seconds: float) -> tuple[Grant, ...] | Refusal:
        """Grants for all requests or for none; nothing remains for a caller that cancels."""
        loop = asyncio.get_running_loop()
        delivery = _Delivery()
        until = loop.time() + seconds
        work = loop.run_in_executor(self._allocations, self._allocate_all, requests, until, loop.time, delivery)
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            # A call that waits for a thread never starts; one at work undoes itself; a finished one is undone here.
            work.cancel()
            self._others.submit(self._undo_logged, delivery.leave())
            raise

    def _allocate_all(
        self, requests: list[tuple[str, ...]], until: float, clock: Callable[[], float], delivery: _Delivery
    ) -> tuple[Grant, ...] | Refusal:
        grants: list[Grant] = []
        try:
            for ids in requests:
                outcome = self.node.allocate(ids, deadline_seconds=max(until - clock(), 0.0))
                if isinstance(outcome, Refusal):
                    self._undo(tuple(grants))
                    return outcome
                grants.append(outcome)
        except BaseException:
            self._undo_logged(tuple(grants))
            raise
        if not delivery.deliver(tuple(grants)):
            self._undo_logged(tuple(grants))
        return tuple(grants)

    def _undo(self, grants: tuple[Grant, ...]) -> None:
        for grant in reversed(grants):
            self.node.undo(grant.claim)

    def _undo_logged(self, grants: tuple[Grant, ...]) -> None:
        """Like `_undo`, but log failures: the caller is gone, and reconciliation will try again."""
        for grant in reversed(grants):
            name = self.node.claim_name(grant.claim)
            try:
                self.node.undo(grant.claim)
            except HamiError as error:
                self.log.warning("undo_failed", claim=name, error=error.message, hint=error.hint)
            else:
                self.log.info("allocate_undone", claim=name)

    def close(self) -> None:
        """Start no further call; running ones end at their own deadlines."""
        self._allocations.shutdown(wait=False, cancel_futures=True)
        self._others.shutdown(wait=False, cancel_futures=True)


class PluginService:
    """The methods of one server; `closing` ends its streams."""

    def __init__(self, calls: PluginCalls, feed: DeviceFeed) -> None:
        self._calls = calls
        self._feed = feed
        self.closing = asyncio.Event()

    async def GetDevicePluginOptions(
        self, request: deviceplugin_pb2.Empty, context: CallContext
    ) -> deviceplugin_pb2.DevicePluginOptions:
        """Request PreStartContainer always, and GetPreferredAllocation if configured."""
        return options(preferred_allocation=self._calls.preferred_allocation)

    async def ListAndWatch(
        self, request: deviceplugin_pb2.Empty, context: CallContext
    ) -> AsyncIterator[deviceplugin_pb2.ListAndWatchResponse]:
        """The devices now, and again after every change."""
        async for answer in self._feed.follow(self.closing):
            yield answer

    async def GetPreferredAllocation(
        self, request: deviceplugin_pb2.PreferredAllocationRequest, context: CallContext
    ) -> deviceplugin_pb2.PreferredAllocationResponse:
        """For each container the ids that the planner would take."""
        containers = request.container_requests
        await _check_count(context, containers)
        for each in containers:
            await _check_ids(context, each.available_deviceIDs)
            await _check_ids(context, each.must_include_deviceIDs)
            if not len(each.must_include_deviceIDs) <= each.allocation_size <= len(each.available_deviceIDs):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "allocation_size exceeds the available devices")
        chosen = [await self._engine(context, self._prefer, each) for each in containers]
        answer = deviceplugin_pb2.ContainerPreferredAllocationResponse
        return deviceplugin_pb2.PreferredAllocationResponse(
            container_responses=[answer(deviceIDs=list(ids)) for ids in chosen]
        )

    async def Allocate(
        self, request: deviceplugin_pb2.AllocateRequest, context: CallContext
    ) -> deviceplugin_pb2.AllocateResponse:
        """Grants for every container of the request, or a refusal that says what to do."""
        await _check_count(context, request.container_requests)
        for each in request.container_requests:
            await _check_ids(context, each.devices_ids)
            if not each.devices_ids:
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a container request names no device")
        requests = [tuple(each.devices_ids) for each in request.container_requests]
        left = context.time_remaining()
        seconds = self._calls.deadline_seconds if left is None else min(left, self._calls.deadline_seconds)
        outcome = await self._guarded(context, self._calls.allocate(requests, seconds))
        if isinstance(outcome, Refusal):
            await context.abort(*grpc_status.of_refusal(outcome))
        return grpc_status.of_grants(outcome)

    async def PreStartContainer(
        self, request: deviceplugin_pb2.PreStartContainerRequest, context: CallContext
    ) -> deviceplugin_pb2.PreStartContainerResponse:
        """Check that the grant of the ids exists, or refuse the start."""
        await _check_ids(context, request.devices_ids)
        refusal = await self._engine(context, self._calls.node.prestart, tuple(request.devices_ids))
        if refusal is not None:
            await context.abort(*grpc_status.of_refusal(refusal))
        return deviceplugin_pb2.PreStartContainerResponse()

    def _prefer(self, request: deviceplugin_pb2.ContainerPreferredAllocationRequest) -> tuple[str, ...]:
        available, needed = tuple(request.available_deviceIDs), tuple(request.must_include_deviceIDs)
        return self._calls.node.prefer(available, needed, request.allocation_size)

    async def _engine(self, context: CallContext, call: Callable[[*Values], Result], *values: *Values) -> Result:
        work = asyncio.wait_for(self._calls.run(call, *values), PRESTART_SECONDS)
        return await self._guarded(context, work)

    async def _guarded(self, context: CallContext, work: Awaitable[Result]) -> Result:
        """The outcome; an error ends the call with a status: HamiErrors by the table, others as INTERNAL and logged."""
        try:
            return await work
        except HamiError as error:
            await context.abort(*grpc_status.of_error(error))
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "the node did not answer in time; see hamid's log")
        except Exception as error:  # the border: kubelet must get an answer, the log the whole story
            self._calls.log.exception("call_failed")
            await context.abort(grpc.StatusCode.INTERNAL, f"unexpected {type(error).__name__}; see hamid's log")


def options(*, preferred_allocation: bool) -> deviceplugin_pb2.DevicePluginOptions:
    """The DevicePluginOptions for both Register and GetDevicePluginOptions."""
    return deviceplugin_pb2.DevicePluginOptions(
        pre_start_required=True, get_preferred_allocation_available=preferred_allocation
    )


async def _check_count(context: CallContext, containers: Sized) -> None:
    """Ends the call if it names more containers than kubelet ever requests at once."""
    if len(containers) > _MAX_CONTAINERS:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"more than {_MAX_CONTAINERS} containers in one request")


async def _check_ids(context: CallContext, ids: Collection[str]) -> None:
    """Ends the call if it names more devices than a node has, or ids that cannot be hamid's."""
    if len(ids) > _MAX_IDS:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"more than {_MAX_IDS} devices for one container")
    if any(len(each) > _MAX_ID_BYTES for each in ids):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a device id is longer than hamid's ids")


def _parsed(
    method: Callable[[Message, CallContext], Awaitable[Message]], message: Message
) -> Callable[[bytes, CallContext], Awaitable[Message]]:
    """The method on its request's bytes; a malformed request is reported as the caller's error."""

    async def call(data: bytes, context: CallContext) -> Message:
        try:
            request = message.FromString(data)
        except DecodeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"not a valid {message.DESCRIPTOR.name}: {error}")
        return await method(request, context)

    return call


def handlers(service: PluginService) -> grpc.GenericRpcHandler:
    """The service for gRPC."""
    messages = deviceplugin_pb2
    unary: dict[str, tuple[Message, Message]] = {
        "GetDevicePluginOptions": (messages.Empty, messages.DevicePluginOptions),
        "GetPreferredAllocation": (messages.PreferredAllocationRequest, messages.PreferredAllocationResponse),
        "Allocate": (messages.AllocateRequest, messages.AllocateResponse),
        "PreStartContainer": (messages.PreStartContainerRequest, messages.PreStartContainerResponse),
    }
    methods = {
        name: grpc.unary_unary_rpc_method_handler(
            _parsed(getattr(service, name), taken), None, answered.SerializeToString
        )
        for name, (taken, answered) in unary.items()
    }
    # Its request is an empty message, in which nothing is to be read.
    methods["ListAndWatch"] = grpc.unary_stream_rpc_method_handler(
        service.ListAndWatch, None, messages.ListAndWatchResponse.SerializeToString
    )
    return grpc.method_handlers_generic_handler("v1beta1.DevicePlugin", methods)
