# SPDX-License-Identifier: Apache-2.0
"""Turns hamid/data/mig-profiles.json into the C table of boards that the simulated driver offers.

Invariant: it invents no number. A profile with an unknown number becomes a hole, an unknown product name or memory size
becomes an empty field, and a board without one complete profile is not offered.
"""

from __future__ import annotations

import json
import sys
import zlib
from pathlib import Path

ENGINES = ("decoders", "encoders", "jpeg", "ofa")
NUMBERS = (
    "profile_id",
    "nvml_enum_value",
    "slices",
    "memory_mib",
    "multiprocessors",
    "copy_engines",
    "max_instances",
)
ARCHITECTURES = {
    "ampere": "AMPERE",
    "hopper": "HOPPER",
    "blackwell": "BLACKWELL",
    "blackwell-gb202": "BLACKWELL_GB202",
}
ABSENT = 0xFFFFFFFF


def text(value: str | None) -> str:
    """A C string literal, or NULL for what is unknown."""
    return json.dumps(value) if value is not None else "NULL"


def number(value: int | None) -> int:
    """The number itself; 0 stands in the row of a hole, which is never answered from."""
    return value if value is not None else 0


def is_complete(profile: dict) -> bool:
    """Whether every number that a client could ask for is known."""
    known = all(profile.get(field) is not None for field in (*NUMBERS, *ENGINES))
    return known and bool(profile.get("placements")) and bool(profile.get("compute_instances"))


def engines(values: dict) -> str:
    """The media engine counts as a C initializer."""
    return "{" + ", ".join(str(number(values.get(name))) for name in ENGINES) + "}"


def compute_rows(profile: dict) -> str:
    """The compute instance profiles of a GPU instance profile as a C initializer."""
    rows = [
        f"{{{row['ci_profile_id']}, {row['slices']}, {row['max_instances']}}}"
        for row in profile.get("compute_instances") or []
    ]
    return "{" + ", ".join(rows or ["{0, 0, 0}"]) + "}"


def profile_row(profile: dict) -> str:
    """One GPU instance profile as a C initializer."""
    sizes = {placement["size"] for placement in profile.get("placements") or []}
    if len(sizes) > 1:
        raise SystemExit(f"{profile['name']}: placements of different sizes are not representable")
    starts = sorted(placement["start"] for placement in profile.get("placements") or [])
    identity = profile.get("profile_id")
    enum = profile.get("nvml_enum_value")
    fields = {
        "name": text(profile["name"]),
        "known": str(is_complete(profile)).lower(),
        "nvml_enum": f"{ABSENT if enum is None else enum}u",
        "id": f"{ABSENT if identity is None else identity}u",
        "slices": number(profile.get("slices")),
        "memory_mib": number(profile.get("memory_mib")),
        "multiprocessors": number(profile.get("multiprocessors")),
        "copy_engines": number(profile.get("copy_engines")),
        "engines": engines(profile),
        "max_instances": number(profile.get("max_instances")),
        "peer_to_peer": str(bool(profile.get("p2p"))).lower(),
        "graphics": str("+gfx" in profile["name"]).lower(),
        "size": sizes.pop() if sizes else 0,
        "start_count": len(starts),
        "starts": "{" + ", ".join(map(str, starts or [0])) + "}",
        "compute_count": len(profile.get("compute_instances") or []),
        "compute": compute_rows(profile),
    }
    return "    {" + ", ".join(f".{name} = {value}" for name, value in fields.items()) + "},"


def full_gpu(board: dict) -> dict | None:
    """The profile that takes the whole board: its engine counts are the board's budget."""
    whole = [
        profile
        for profile in board["profiles"]
        if is_complete(profile)
        and profile["slices"] == board["compute_slices"]
        and profile["placements"][0]["size"] == board["memory_slices"]
    ]
    return whole[0] if whole else None


def variants(board: dict, profiles_of: dict) -> list[dict]:
    """The products on this board; an unnamed one where no product name is known."""
    known = board.get("nvml")
    if known:
        return known
    identifiers = board.get("pci_device_ids") or profiles_of.get("pci_device_ids") or []
    return [{"name": None, "pci_device_id": identifiers[0] if identifiers else None, "memory_total_mib": None}]


def variant_row(variant: dict) -> str:
    """One product as a C initializer."""
    device = variant.get("pci_device_id")
    return f"    {{{text(variant.get('name'))}, {device or 0}u, {number(variant.get('memory_total_mib'))}}},"


def board_tables(index: int, board: dict, profiles_of: dict) -> list[str]:
    """The profile and product arrays of one board."""
    return [
        f"static const struct profile profiles_{index}[] = {{",
        *(profile_row(profile) for profile in profiles_of["profiles"]),
        "};",
        f"static const struct variant variants_{index}[] = {{",
        *(variant_row(variant) for variant in variants(board, profiles_of)),
        "};",
    ]


def board_row(index: int, key: str, board: dict, profiles_of: dict) -> str:
    """One board as a C initializer."""
    whole = full_gpu(profiles_of)
    fields = {
        "key": text(key),
        "architecture": f"ARCHITECTURE_{ARCHITECTURES[profiles_of['arch']]}",
        "memory_slices": profiles_of["memory_slices"],
        "compute_slices": profiles_of["compute_slices"],
        "engines_known": str(whole is not None).lower(),
        "engines": engines(whole or {}),
        "profiles": f"profiles_{index}",
        "profile_count": len(profiles_of["profiles"]),
        "variants": f"variants_{index}",
        "variant_count": len(variants(board, profiles_of)),
    }
    return "    {" + ", ".join(f".{name} = {value}" for name, value in fields.items()) + "},"


def offered(data: dict) -> list[tuple[str, dict, dict]]:
    """Key, board and the board whose profiles it has, for every board with one complete profile."""
    boards = []
    for key, board in data["gpus"].items():
        profiles_of = data["gpus"][board["same_as"]] if "same_as" in board else board
        if any(map(is_complete, profiles_of.get("profiles", []))) and profiles_of.get("memory_slices"):
            boards.append((key, board, profiles_of))
    return boards


def table(data: dict, fingerprint: int) -> str:
    """The whole C file."""
    boards = offered(data)
    lines = ["/* SPDX-License-Identifier: Apache-2.0 */", "/* Made by generate_boards.py; do not edit. */"]
    lines += ['#include "node/board.h"']
    for index, (_, board, profiles_of) in enumerate(boards):
        lines += board_tables(index, board, profiles_of)
    lines += ["const struct board board_table[] = {"]
    lines += [board_row(index, *entry) for index, entry in enumerate(boards)]
    lines += ["};", f"const unsigned board_count = {len(boards)};"]
    lines += [f"const unsigned board_fingerprint = {fingerprint}u;", ""]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Read the data file, write the table."""
    source, target = map(Path, arguments)
    raw = source.read_bytes()
    target.write_text(table(json.loads(raw), zlib.crc32(raw)), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
