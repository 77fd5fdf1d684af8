# SPDX-License-Identifier: Apache-2.0
"""GPUs as core values, straight from the shipped board data: for tests of pure decisions, without any driver."""

from functools import cache
from typing import Any

import msgspec

from hamid.core.hardware.gpu import Gpu, Instance
from hamid.core.hardware.profile import Engines, Placement, Profile
from hamid.core.hardware.snapshot import Snapshot
from hamid.node.paths import data_file

_ENGINES = ("decoders", "encoders", "jpeg", "ofa")
_NUMBERS = ("memory_mib", "multiprocessors", "copy_engines", *_ENGINES)


@cache
def board_data() -> dict[str, Any]:
    """Every board of the shipped data by key, `same_as` resolved."""
    with open(data_file("mig-profiles.json"), "rb") as file:  # noqa: PTH123  # as elsewhere in the package
        boards: dict[str, Any] = msgspec.json.decode(file.read())["gpus"]
    return {key: {**boards.get(str(board.get("same_as")), {}), **board} for key, board in boards.items()}


def known_boards() -> list[str]:
    """Boards with at least one profile all of whose numbers are known: those that the simulator offers."""
    return [key for key in board_data() if _known_rows(key)]


def profiles_of(board: str) -> tuple[Profile, ...]:
    """The profiles of a board that are fully known."""
    return tuple(_profile(row) for row in _known_rows(board))


def gpu_of(board: str, *, index: int = 0, mig: bool = True, instances: tuple[Instance, ...] = ()) -> Gpu:
    """A GPU of that board; the first product name of the data is its name."""
    product = (board_data()[board].get("nvml") or [{"name": None, "memory_total_mib": None}])[0]
    return Gpu(
        index=index,
        uuid=f"GPU-{index:08x}-0000-0000-0000-000000000000",
        name=product["name"],
        minor=index,
        memory_mib=product["memory_total_mib"],
        mig_capable=True,
        mig_enabled=mig,
        mig_pending=mig,
        profiles=profiles_of(board),
        instances=instances,
    )


def node_of(*boards: str, mig: bool = True) -> Snapshot:
    """A node with one GPU per named board."""
    return Snapshot(gpus=tuple(gpu_of(board, index=index, mig=mig) for index, board in enumerate(boards)))


def _known_rows(board: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = board_data()[board].get("profiles", [])
    return [row for row in rows if row.get("placements") and all(row.get(key) is not None for key in _NUMBERS)]


def _profile(row: dict[str, Any]) -> Profile:
    return Profile(
        name=row["name"],
        profile_id=row["profile_id"],
        memory_mib=row["memory_mib"],
        compute_slices=row["slices"],
        multiprocessors=row["multiprocessors"],
        max_instances=row["max_instances"],
        placements=tuple(Placement(start=each["start"], size=each["size"]) for each in row["placements"]),
        copy_engines=row["copy_engines"],
        engines=Engines(**{key: row[key] for key in _ENGINES}),
    )
