# SPDX-License-Identifier: Apache-2.0
"""Stand-ins for `hamid.node.files.tree.Calls` that count the calls to the system, fail one of them, or die at one."""

import os
import signal
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from hamid.node.files.tree import Calls

_P = ParamSpec("_P")
_T = TypeVar("_T")


class CountingCalls(Calls):
    """Runs every call and remembers the functions' names in order."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, function: Callable[_P, _T], /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        """The result of the call."""
        self.names.append(function.__name__)
        return function(*arguments, **named)


class FailingCalls(Calls):
    """The call with number `at` (from 0) fails with `code`; every other runs. A close is never made to fail."""

    def __init__(self, at: int, code: int) -> None:
        self._left = at
        self._code = code

    def __call__(self, function: Callable[_P, _T], /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        """The result of the call, or OSError."""
        self._left -= 1
        if self._left == -1 and function is not os.close:
            raise OSError(self._code, os.strerror(self._code))
        return function(*arguments, **named)


class KillingCalls(Calls):
    """This process is killed at the call with number `at` (from 0): before it, or right after it."""

    def __init__(self, at: int, *, after: bool) -> None:
        self._left = at
        self._after = after

    def __call__(self, function: Callable[_P, _T], /, *arguments: _P.args, **named: _P.kwargs) -> _T:
        """The result of the call, if we live to give it."""
        self._left -= 1
        if self._left == -1 and not self._after:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            return function(*arguments, **named)
        finally:
            if self._left == -1:
                os.kill(os.getpid(), signal.SIGKILL)
