# SPDX-License-Identifier: Apache-2.0
"""The processes of this machine, as far as GPU work concerns them."""


def process_name(pid: int) -> str:
    """The command name of a process, or `unknown` when it is gone or in a pid namespace that we cannot see."""
    # psutil costs start-up, and most calls of hamictl meet no process.
    import psutil  # noqa: PLC0415

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "unknown"
