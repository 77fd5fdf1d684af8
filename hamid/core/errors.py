# SPDX-License-Identifier: Apache-2.0
"""The errors that a user can meet, as one tree.

    HamiError                 message, hint
      UsageError              a wrong argument, name or file; nothing was done
      NotPermitted            the caller may not do this
      NodeError               the node did not do what was asked
        DriverMissing         no NVIDIA driver, or one that does not answer
        NvmlFailed            an NVML call failed; carries function, code and GPU
          GpuLost             the GPU fell off the bus
        LibraryFailed         the library store could not be read or written; what was there still is
        LibraryMissing        no libvgpu is installed that a container could get
        LibraryRefused        a file that calls itself libvgpu is none; nothing was written
        LibraryBusy           another sync holds the library store
        UnsafePath            somebody else could change what we would write there; nothing was written
        StalePlan             the node is no longer what the plan rests on; nothing was changed
        InUse                 somebody uses what would be changed; it was left alone
        ModePending           MIG mode would wait for a reset; the request was taken back
        ForeignInstance       somebody else's instance lies where ours should; it was left alone
        DriverHung            a driver call passed its deadline; that GPU is left alone until it answers
        OtherMaster           another plugin or manager has this node's GPUs; nothing is changed beside it
        KubeletFailed         kubelet or a device plugin did not answer on its socket, or what it said is unusable
        DaemonMissing         no hamid runs on this node
        LedgerBusy            another process writes the ledger; its pid and command are named
        LedgerFailed          the ledger could not be read or written
        LedgerUntrusted       the ledger was lost and made anew; not every instance is explained yet

Expected outcomes (a request that does not fit, a configuration with problems) are values, not errors.
The class name is the stable code of an error in JSON. hamid/core/exits.py maps classes to exit codes.
"""


class HamiError(Exception):
    """What happened (`message`) and what to do about it (`hint`, may be empty)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(HamiError):
    """An argument, a name or a file from outside is not usable; nothing was done."""


class Interrupted(HamiError):  # the tree's names are the stable error codes
    """Somebody pressed ^C; what was done until then stays."""


class NotPermitted(HamiError):
    """The caller lacks the permission for this."""


class NodeError(HamiError):
    """The node did not do what was asked of it."""


class DriverMissing(NodeError):
    """There is no NVIDIA driver here, or it does not answer."""


class NvmlFailed(NodeError):
    """An NVML call failed: `function` is its C name, `code` the nvmlReturn_t (NVML manual), `gpu` names the GPU."""

    def __init__(self, function: str, code: int, text: str, *, gpu: str = "", hint: str = "") -> None:
        where = f" on {gpu}" if gpu else ""
        super().__init__(f"{function}{where} failed: {text} (NVML {code})", hint)
        self.function = function
        self.code = code
        self.text = text
        self.gpu = gpu


class GpuLost(NvmlFailed):
    """The GPU fell off the bus or needs a reset; the other GPUs of the node go on."""


class LibraryFailed(NodeError):
    """The library store could not be read or written; what was there still is."""


class LibraryMissing(NodeError):
    """No libvgpu is installed that a container could get."""


class LibraryRefused(NodeError):
    """A file that calls itself libvgpu is none, or the store has a reason not to use it; nothing was written."""


class LibraryBusy(NodeError):
    """Another sync holds the library store."""


class UnsafePath(NodeError):
    """Somebody else could change what we would write there; nothing was written."""


class StalePlan(NodeError):
    """The node is no longer what the plan rests on; nothing was changed."""


class InUse(NodeError):
    """Somebody uses the GPU or instance that would be changed; it was left alone."""


class ModePending(NodeError):
    """MIG mode would change only with a reset; the request was taken back."""


class ForeignInstance(NodeError):
    """An instance that we did not make lies where ours should; it was left alone."""


class DriverHung(NodeError):
    """A driver call did not come back before its deadline; that GPU is left alone until it answers."""


class OtherMaster(NodeError):
    """Another plugin or manager has this node's GPUs; nothing is changed beside it."""


class KubeletFailed(NodeError):
    """Kubelet or a device plugin did not answer on its socket, or what it said is unusable.

    `unimplemented` when it answered that it does not know the method.
    """

    def __init__(self, message: str, hint: str = "", *, unimplemented: bool = False) -> None:
        super().__init__(message, hint)
        self.unimplemented = unimplemented


class DaemonMissing(NodeError):
    """No hamid runs on this node."""


class LedgerBusy(NodeError):
    """Another process holds the ledger for writing."""


class LedgerFailed(NodeError):
    """The ledger could not be read or written; the node was not changed without it."""


class LedgerUntrusted(NodeError):
    """The ledger was lost and made anew from what NVML shows; until every instance is explained this is refused."""
