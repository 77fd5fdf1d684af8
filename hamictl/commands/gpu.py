# SPDX-License-Identifier: Apache-2.0
"""hamictl gpu: the GPUs of this node."""

from typing import Annotated

import typer

from hamictl.options import Gpus, noun, verb
from hamictl.render import inventory
from hamictl.session import Session
from hamid.core.documents.inventory import gpus_document
from hamid.core.hardware.snapshot import select_gpus

app = noun("gpu", "Show the GPUs of this node.")


@verb(app, "list")
def list_gpus(session: Session, gpu: Gpus = None) -> None:
    """List GPUs with their memory, MIG mode and health.

    \b
    Examples:
      hamictl gpu list
      hamictl gpu list -o json
      hamictl --sim 1xA30,1xH200 gpu list
    """
    snapshot = session.snapshot()
    gpus = select_gpus(snapshot, tuple(gpu or ()))

    session.emit(gpus_document(snapshot, gpus), lambda: inventory.gpu_table(gpus, wide=session.wide))


@verb(app, "show")
def show_gpu(
    session: Session, gpu: Annotated[str, typer.Argument(metavar="GPU", help="Index, uuid or PCI bus id of the GPU.")]
) -> None:
    """Show one GPU in detail: identity, mode, instances, clients.

    \b
    Examples:
      hamictl gpu show 0
      hamictl gpu show GPU-5d9b3c0e -o yaml
    """
    snapshot = session.snapshot()
    gpus = select_gpus(snapshot, (gpu,))

    session.emit(gpus_document(snapshot, gpus), lambda: inventory.gpu_page(gpus[0], wide=session.wide))
