# SPDX-License-Identifier: Apache-2.0
"""The exit codes, and the mapping of errors to them."""

from enum import IntEnum

from hamid.core.errors import (
    DaemonMissing,
    DriverMissing,
    ForeignInstance,
    HamiError,
    Interrupted,
    InUse,
    LedgerBusy,
    LedgerUntrusted,
    LibraryBusy,
    LibraryRefused,
    ModePending,
    NotPermitted,
    StalePlan,
    UnsafePath,
    UsageError,
)


class Exit(IntEnum):
    """What the exit status of hamictl and hamid means; documented in docs/cli/README.md."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    PENDING = 3
    NOT_PERMITTED = 4
    DAEMON = 5
    NO_DRIVER = 6
    REFUSED = 7
    NO_FIT = 8
    PARTIAL = 9
    INTERRUPTED = 130


_BY_CLASS: tuple[tuple[type[HamiError], Exit], ...] = (
    (UsageError, Exit.USAGE),
    (Interrupted, Exit.INTERRUPTED),
    (NotPermitted, Exit.NOT_PERMITTED),
    (DaemonMissing, Exit.DAEMON),
    (DriverMissing, Exit.NO_DRIVER),
    (LibraryBusy, Exit.REFUSED),
    (LibraryRefused, Exit.REFUSED),
    (UnsafePath, Exit.REFUSED),
    (StalePlan, Exit.REFUSED),
    (InUse, Exit.REFUSED),
    (ModePending, Exit.REFUSED),
    (ForeignInstance, Exit.REFUSED),
    (LedgerBusy, Exit.REFUSED),
    (LedgerUntrusted, Exit.REFUSED),
)


def exit_code(error: HamiError) -> Exit:
    """The exit status for an error: that of its class, or 1."""
    return next((code for kind, code in _BY_CLASS if isinstance(error, kind)), Exit.FAILURE)
