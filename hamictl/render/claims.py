# SPDX-License-Identifier: Apache-2.0
"""Claims for people, rendered from their document."""

from typing import Any

from hamictl.render.tables import table


def claims_table(document: dict[str, Any], *, wide: bool) -> str:
    """A line for each claim."""
    columns = ["CLAIM", "HOLDER", "STANDING", "HOLDS", "SINCE"] + (["DEVICES", "POD UID"] if wide else [])
    return table(columns, [_row(claim, wide=wide) for claim in document["claims"]])


def claim_page(claim: dict[str, Any]) -> str:
    """One claim in full."""
    pod = claim["pod"] or {}
    lines = [
        ("Claim", claim["name"]),
        ("Holder", _holder(claim)),
        ("Standing", claim["standing"]),
        ("Pod uid", pod.get("uid")),
        ("Resource", claim["resource"]),
        ("Devices", " ".join(claim["deviceIds"])),
        ("Granted", claim["grantedAt"]),
    ]
    head = "".join(f"{name + ':':<10} {value or '-'}\n" for name, value in lines)
    return f"{head}\n{_instances(claim)}{_shares(claim)}"


def _row(claim: dict[str, Any], *, wide: bool) -> list[object]:
    cells: list[object] = [claim["name"], _holder(claim), claim["standing"], _holds(claim), claim["grantedAt"]]
    return [*cells, " ".join(claim["deviceIds"]), (claim["pod"] or {}).get("uid")] if wide else cells


def _holder(claim: dict[str, Any]) -> str:
    pod = claim["pod"]
    if pod is not None:
        return f"{pod['namespace']}/{pod['name']}/{pod['container']}"
    return "an operator" if claim["standing"] == "operator" else "unknown"


def _holds(claim: dict[str, Any]) -> str:
    instances = [f"{each['profile']}@{each['start']} on {_gpu(each)}" for each in claim["instances"]]
    shares = [f"{each['memoryMiB']} MiB{_cores(each)} of {_gpu(each)}" for each in claim["shares"]]
    return ", ".join([*instances, *shares])


def _gpu(part: dict[str, Any]) -> str:
    return part["gpuUUID"] if part["gpuIndex"] is None else f"GPU {part['gpuIndex']}"


def _cores(share: dict[str, Any]) -> str:
    return f" {share['coresPercent']}% cores" if share["coresPercent"] else ""


def _instances(claim: dict[str, Any]) -> str:
    rows = [
        [each["migUUID"], each["profile"], f"{each['start']}:{each['size']}", each["gpuIndex"], each["gpuUUID"]]
        for each in claim["instances"]
    ]
    return table(["INSTANCE", "PROFILE", "PLACEMENT", "GPU", "GPU UUID"], rows) if rows else ""


def _shares(claim: dict[str, Any]) -> str:
    rows = [
        [each["gpuIndex"], each["gpuUUID"], each["memoryMiB"], each["coresPercent"] or "no limit"]
        for each in claim["shares"]
    ]
    return table(["GPU", "GPU UUID", "MEMORY MiB", "CORES %"], rows) if rows else ""
