# SPDX-License-Identifier: Apache-2.0
"""hamictl alloc: the claims in the ledger. It also works while hamid runs."""

from typing import Annotated

import typer

from hamictl import node_access
from hamictl.options import noun, verb
from hamictl.render import claims as page
from hamictl.session import Session
from hamid.core.claims.claim import Claim
from hamid.core.documents.claims import claims_document
from hamid.core.documents.envelope import Document
from hamid.core.errors import HamiError, UsageError

app = noun("alloc", "Show which containers and operators hold which parts of the GPUs.")


@verb(app, "list")
def list_claims(session: Session) -> None:
    """List the claims of containers and operators.

    State `provisional` means that kubelet has not yet confirmed which container holds the devices. `-o wide` adds
    device ids and pod uids.

    \b
    Examples:
      hamictl alloc list
      hamictl alloc list -o json
    """
    document = _document(session, node_access.claims(session.node))
    session.emit(document, lambda: page.claims_table(document, wide=session.wide))


@verb(app, "show")
def show_claim(
    session: Session,
    claim: Annotated[str, typer.Argument(metavar="CLAIM|POD", help="Name of a claim, uid of a pod, or NAMESPACE/POD.")],
) -> None:
    """Show the details of a claim, or of all claims of a pod.

    \b
    Examples:
      hamictl alloc show training
      hamictl alloc show default/job
    """
    known = node_access.claims(session.node)
    found = [each for each in known if claim in _names(each)]
    if not found:
        names = ", ".join(each.name for each in known) or "none"
        raise UsageError(f"no claim named '{claim}', and no pod '{claim}' holds one", f"existing claims: {names}")
    document = _document(session, found)
    session.emit(document, lambda: "\n".join(page.claim_page(each) for each in document["claims"]))


def _names(claim: Claim) -> tuple[str, ...]:
    owner = claim.owner
    if owner is None or not owner.known:
        return (claim.name,)
    return (claim.name, owner.uid, f"{owner.namespace}/{owner.name}", str(owner))


def _document(session: Session, claims: "list[Claim] | tuple[Claim, ...]") -> Document:
    try:
        snapshot = session.snapshot()
    except HamiError:
        # The ledger can be read without a driver; then the GPUs' indexes are unknown.
        return claims_document(claims, {}, simulated=session.sim is not None)
    return claims_document(claims, {gpu.uuid: gpu.index for gpu in snapshot.gpus}, simulated=snapshot.simulated)
