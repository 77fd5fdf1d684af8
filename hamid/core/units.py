# SPDX-License-Identifier: Apache-2.0
"""Units: GPU memory in MiB everywhere, and the spellings that users may write."""

import re

from msgspec import Struct

from hamid.core.errors import UsageError

BYTES_PER_MIB = 1024 * 1024
PERCENT = 100
# Far above any GPU and far below where arithmetic on sums could surprise: 1 PiB.
MAX_MEMORY_MIB = 1024 * 1024 * 1024

_BYTES_PER_UNIT = {
    "": BYTES_PER_MIB,
    "Mi": BYTES_PER_MIB,
    "MiB": BYTES_PER_MIB,
    "Gi": 1024**3,
    "GiB": 1024**3,
    "Ti": 1024**4,
    "TiB": 1024**4,
    "M": 1000**2,
    "MB": 1000**2,
    "G": 1000**3,
    "GB": 1000**3,
    "T": 1000**4,
    "TB": 1000**4,
}
_NUMBER = re.compile(r"(?P<digits>[0-9]{1,15})(?:\.(?P<fraction>[0-9]{1,9}))?(?P<unit>[A-Za-z]*|%)", re.ASCII)
_SPELLINGS = "examples: 8000 (MiB), 8Gi, 8G (decimal, as in Kubernetes), 50%"


class Memory(Struct, frozen=True):
    """An amount of GPU memory: `mib`, or `percent` of the memory of the GPU that serves it (then `mib` is None)."""

    mib: int | None = None
    percent: int | None = None

    def of(self, total_mib: int) -> int:
        """The amount in MiB on a GPU of `total_mib`, rounded up."""
        return -(-total_mib * (self.percent or 0) // PERCENT) if self.mib is None else self.mib

    def __str__(self) -> str:
        return f"{self.mib} MiB" if self.mib is not None else f"{self.percent}%"


def parse_memory(text: str) -> Memory:
    """`8000`, `8Gi`, `8G`, `1.5Gi` or `50%` as Memory; sizes are rounded up to whole MiB. Raises UsageError."""
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise UsageError(f"'{text}' is not an amount of memory", _SPELLINGS)
    digits, fraction, unit = match["digits"], match["fraction"] or "", match["unit"]
    scale = 10 ** len(fraction)
    scaled = int(digits + fraction)
    if unit == "%":
        return _percent(text, scaled, scale)
    if unit not in _BYTES_PER_UNIT:
        raise UsageError(f"'{unit}' in '{text}' is not a unit of memory", _SPELLINGS)
    mib = -(-scaled * _BYTES_PER_UNIT[unit] // (scale * BYTES_PER_MIB))
    if not 1 <= mib <= MAX_MEMORY_MIB:
        raise UsageError(f"'{text}' is outside 1..{MAX_MEMORY_MIB} MiB", _SPELLINGS)
    return Memory(mib=mib)


def _percent(text: str, scaled: int, scale: int) -> Memory:
    percent, rest = divmod(scaled, scale)
    if rest or not 1 <= percent <= PERCENT:
        raise UsageError(f"'{text}' is not a whole percentage from 1% to 100%", _SPELLINGS)
    return Memory(percent=percent)


def format_mib(mib: int | None) -> str:
    """Memory for people: `9856 MiB`, or `unknown`."""
    return "unknown" if mib is None else f"{mib} MiB"
