# SPDX-License-Identifier: Apache-2.0
"""The text of claims, rendered from their document."""

from hamictl.render.tables import table
from hamid.core.documents.envelope import Document


def claims_table(document: Document, *, wide: bool) -> str:
    """A table with one line per claim."""
    columns = ["CLAIM", "HOLDER", "STATE", "HOLDS", "SINCE"] + (["DEVICES", "POD UID"] if wide else [])
    return table(columns, [_row(claim, wide=wide) for claim in document["claims"]])


def claim_page(claim: Document) -> str:
    """The details of one claim."""
    pod = claim["pod"] or {}
    lines = [
        ("Claim", claim["name"]),
        ("Holder", _holder(claim)),
        ("State", claim["standing"]),
        ("Pod uid", pod.get("uid")),
        ("Resource", claim["resource"]),
        ("Devices", " ".join(claim["deviceIds"])),
        ("Granted", claim["grantedAt"]),
    ]
    head = "".join(f"{name + ':':<10} {value or '-'}\n" for name, value in lines)
    return f"{head}\n{_instances(claim)}{_shares(claim)}"


def _row(claim: Document, *, wide: bool) -> list[object]:
    cells: list[object] = [claim["name"], _holder(claim), claim["standing"], _holds(claim), claim["grantedAt"]]
    return [*cells, " ".join(claim["deviceIds"]), (claim["pod"] or {}).get("uid")] if wide else cells


def _holder(claim: Document) -> str:
    pod = claim["pod"]
    if pod is not None:
        return f"{pod['namespace']}/{pod['name']}/{pod['container']}"
    return "an operator" if claim["standing"] == "operator" else "unknown"


def _holds(claim: Document) -> str:
    instances = [f"{each['profile']}@{each['start']} on {_gpu(each)}" for each in claim["instances"]]
    shares = [f"{each['memoryMiB']} MiB{_cores(each)} of {_gpu(each)}" for each in claim["shares"]]
    return ", ".join([*instances, *shares])


def _gpu(part: Document) -> str:
    return part["gpuUUID"] if part["gpuIndex"] is None else f"GPU {part['gpuIndex']}"


def _cores(share: Document) -> str:
    return f" {share['coresPercent']}% cores" if share["coresPercent"] else ""


def _instances(claim: Document) -> str:
    rows = [
        [each["migUUID"], each["profile"], f"{each['start']}:{each['size']}", each["gpuIndex"], each["gpuUUID"]]
        for each in claim["instances"]
    ]
    return table(["INSTANCE", "PROFILE", "PLACEMENT", "GPU", "GPU UUID"], rows) if rows else ""


def _shares(claim: Document) -> str:
    rows = [
        [each["gpuIndex"], each["gpuUUID"], each["memoryMiB"], each["coresPercent"] or "no limit"]
        for each in claim["shares"]
    ]
    return table(["GPU", "GPU UUID", "MEMORY MiB", "CORES %"], rows) if rows else ""
