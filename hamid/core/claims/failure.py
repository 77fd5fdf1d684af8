# SPDX-License-Identifier: Apache-2.0
"""Maps each class of error to the refusal that kubelet gets, and says which errors are transient."""

from collections.abc import Mapping
from typing import Final

from hamid.core.errors import (
    DaemonMissing,
    DriverHung,
    DriverMissing,
    ForeignInstance,
    GpuLost,
    HamiError,
    Interrupted,
    InUse,
    KubeletFailed,
    LedgerBusy,
    LedgerFailed,
    LedgerUntrusted,
    LibraryBusy,
    LibraryFailed,
    LibraryMissing,
    LibraryRefused,
    ModePending,
    NodeError,
    NotPermitted,
    NvmlFailed,
    OtherMaster,
    StalePlan,
    UnsafePath,
    UsageError,
)
from hamid.core.located import ConfigError
from hamid.core.planner.refusal import Failed, Refusal, RefusalCode

# DRIVER covers every node error without a code of its own.
CODES: Final[Mapping[type[HamiError], RefusalCode]] = {
    HamiError: RefusalCode.DRIVER,
    UsageError: RefusalCode.BAD_REQUEST,
    ConfigError: RefusalCode.BAD_REQUEST,
    Interrupted: RefusalCode.DRIVER,
    NotPermitted: RefusalCode.DRIVER,
    NodeError: RefusalCode.DRIVER,
    DriverMissing: RefusalCode.DRIVER,
    NvmlFailed: RefusalCode.DRIVER,
    GpuLost: RefusalCode.DRIVER,
    LibraryFailed: RefusalCode.DRIVER,
    LibraryMissing: RefusalCode.LIBRARY,
    LibraryRefused: RefusalCode.DRIVER,
    LibraryBusy: RefusalCode.DRIVER,
    UnsafePath: RefusalCode.DRIVER,
    StalePlan: RefusalCode.DRIVER,
    InUse: RefusalCode.DRIVER,
    ModePending: RefusalCode.DRIVER,
    ForeignInstance: RefusalCode.DRIVER,
    DriverHung: RefusalCode.DEADLINE,
    OtherMaster: RefusalCode.DRIVER,
    KubeletFailed: RefusalCode.DRIVER,
    DaemonMissing: RefusalCode.DRIVER,
    LedgerBusy: RefusalCode.LEDGER,
    LedgerFailed: RefusalCode.LEDGER,
    LedgerUntrusted: RefusalCode.LEDGER,
}


# NVML_ERROR_IN_USE and _INSUFFICIENT_RESOURCES: freed resources may lag, or another program was faster.
_TRANSIENT: Final = frozenset({19, 23})


def is_transient(error: Exception) -> bool:
    """True for an error that a retry may resolve."""
    return isinstance(error, InUse | ForeignInstance) or (isinstance(error, NvmlFailed) and error.code in _TRANSIENT)


def refusal_of(error: Exception) -> Refusal:
    """The refusal for an error; a class without a row uses that of its nearest base. Re-raises other exceptions."""
    if not isinstance(error, HamiError):
        raise error
    code = next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)
    return failed(code, error)


def failed(code: RefusalCode, error: HamiError) -> Refusal:
    """The refusal for an error whose code is known from where it happened."""
    return Refusal(facts=Failed(code, error.message, error.hint))
