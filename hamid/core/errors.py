# SPDX-License-Identifier: Apache-2.0
"""Every error that a user can see, as one class tree.

    HamiError                 message, hint
      UsageError              a wrong argument, name or file; nothing was changed
      NotPermitted            the caller may not do this
      NodeError               the node could not do what was requested
        DriverMissing         no NVIDIA driver, or one that does not answer
        NvmlFailed            an NVML call failed; carries function, code and GPU
          GpuLost             the GPU fell off the bus
        LibraryFailed         the library store could not be read or written; its files are unchanged
        LibraryMissing        no installed libvgpu can be given to a container
        LibraryRefused        a file named libvgpu is not a valid libvgpu; nothing was written
        LibraryBusy           another sync holds the library store
        UnsafePath            another user could change what hamid would write there; nothing was written
        StalePlan             the node has changed since the plan was made; nothing was changed
        InUse                 the GPU, instance or file is in use; it was not changed
        ModePending           the MIG mode change needs a reset; it was undone
        ForeignInstance       an instance that hamid did not create occupies the placement; it was not changed
        DriverHung            a driver call passed its deadline; hamid does not use that GPU until it answers
        OtherMaster           another plugin or manager controls this node's GPUs; hamid changes nothing
        KubeletFailed         kubelet or a device plugin did not answer on its socket, or its answer is unusable
        DaemonMissing         hamid is not running on this node
        LedgerBusy            another process is writing the ledger; the message names its pid and command
        LedgerFailed          the ledger could not be read or written
        LedgerUntrusted       the ledger was lost and rebuilt; not every instance is explained yet

Expected outcomes (a request that does not fit, a configuration with problems) are values, not errors.
The class name is the stable code of an error in JSON. hamid/core/exits.py maps classes to exit codes.
"""


class HamiError(Exception):
    """What is wrong (`message`) and what to do about it (`hint`, may be empty)."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(HamiError):
    """An argument, a name or an input file is invalid; nothing was changed."""


class Interrupted(HamiError):  # the class names are the stable error codes
    """The user pressed ^C; changes made before that stay."""


class NotPermitted(HamiError):
    """The caller lacks the permission for this."""


class NodeError(HamiError):
    """The node could not do what was requested."""


class DriverMissing(NodeError):
    """No NVIDIA driver is installed, or it does not answer."""


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
    """The GPU fell off the bus or needs a reset; the node's other GPUs keep working."""


class LibraryFailed(NodeError):
    """The library store could not be read or written; its files are unchanged."""


class LibraryMissing(NodeError):
    """No installed libvgpu can be given to a container."""


class LibraryRefused(NodeError):
    """A file named libvgpu is not a valid libvgpu, or the store may not use it; nothing was written."""


class LibraryBusy(NodeError):
    """Another sync holds the library store."""


class UnsafePath(NodeError):
    """Another user could change what hamid would write there; nothing was written."""


class StalePlan(NodeError):
    """The node has changed since the plan was made; nothing was changed."""


class InUse(NodeError):
    """The GPU, instance or file is in use; it was not changed."""


class ModePending(NodeError):
    """The MIG mode change needs a reset; it was undone."""


class ForeignInstance(NodeError):
    """An instance that hamid did not create occupies the placement; it was not changed."""


class DriverHung(NodeError):
    """A driver call passed its deadline; hamid does not use that GPU until it answers."""


class OtherMaster(NodeError):
    """Another plugin or manager controls this node's GPUs; hamid changes nothing."""


class KubeletFailed(NodeError):
    """Kubelet or a device plugin did not answer on its socket, or its answer is unusable.

    `unimplemented`: it answered that it does not know the method.
    """

    def __init__(self, message: str, hint: str = "", *, unimplemented: bool = False) -> None:
        super().__init__(message, hint)
        self.unimplemented = unimplemented


class DaemonMissing(NodeError):
    """Hamid is not running on this node."""


class LedgerBusy(NodeError):
    """Another process holds the ledger for writing."""


class LedgerFailed(NodeError):
    """The ledger could not be read or written; the node was not changed without it."""


class LedgerUntrusted(NodeError):
    """The ledger was lost and rebuilt from NVML; the action is refused until every instance is explained."""
