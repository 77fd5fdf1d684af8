# SPDX-License-Identifier: Apache-2.0
"""hamictl sim inject: faults, knobs and incidents of a simulated node; docs/simulator.md describes each."""

from pathlib import Path
from typing import Annotated

import typer

from hamictl import node_access
from hamictl.options import noun, verb
from hamictl.session import Session
from hamid.core.documents.envelope import envelope
from hamid.core.errors import UsageError

app = noun("inject", "Inject faults and incidents, and set knobs.")

StateOption = Annotated[
    str | None, typer.Option("--state", metavar="FILE", help="State file of the node (same as --sim FILE).")
]
Target = Annotated[
    str | None,
    typer.Option(
        "--gpu", "-i", metavar="GPU", help="Index or uuid of a GPU, or uuid of a MIG device (default: all GPUs)."
    ),
]


@verb(app, "set")
def set_knob(
    session: Session,
    knob: Annotated[
        str, typer.Argument(help="Name of the knob: driver, lost, gi_ids, uuids, activation, root_only ...")
    ],
    value: Annotated[str, typer.Argument(help="New value of the knob.")],
    gpu: Target = None,
    state: StateOption = None,
) -> None:
    """Set a knob: change how the node or one of its GPUs behaves.

    \b
    Examples:
      hamictl sim inject set lost 1 --gpu 0 --state /tmp/node
      hamictl sim inject set gi_ids swapped --state /tmp/node
      hamictl sim inject set driver absent --state /tmp/node
      hamictl sim inject set root_only 1 --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_control.set_knob(knob, value, uuid=gpu, state=path)
    _report(session, path, f"{knob} is {value or 'empty'} {_where(gpu)}")


@verb(app, "fault")
def add_fault(
    session: Session,
    rule: Annotated[
        str, typer.Argument(help="FUNCTION[@GPU][#FIRST[+TIMES]]=latency:MS|hang|error:CODE|kill|kill-after")
    ],
    state: StateOption = None,
) -> None:
    """Inject a fault into calls of a driver function.

    \b
    Examples:
      hamictl sim inject fault 'nvmlDeviceCreateGpuInstance*=latency:1000' --state /tmp/node
      hamictl sim inject fault 'nvmlGpuInstanceDestroy@1#2=error:19' --state /tmp/node

    \b
    The variable HAMI_SIM_FAULTS takes the same rules.
    """
    path = session.state_file(state)
    node_access.sim_control.add_fault(rule, state=path)
    _report(session, path, f"fault added: {rule}")


@verb(app, "clear")
def clear_faults(session: Session, state: StateOption = None) -> None:
    """Remove all injected faults.

    \b
    Examples:
      hamictl sim inject clear --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_control.clear_faults(state=path)
    _report(session, path, "faults cleared")


@verb(app, "xid")
def post_xid(
    session: Session,
    xid: Annotated[int, typer.Argument(help="Number of the Xid, such as 79.")],
    gpu: Target = None,
    state: StateOption = None,
) -> None:
    """Report an Xid of a GPU or MIG device. All clients that wait for events get it.

    \b
    Examples:
      hamictl sim inject xid 94 --gpu MIG-5d9b... --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_control.post_xid(_one(gpu), xid, state=path)
    _report(session, path, f"Xid {xid} {_where(gpu)}")


@verb(app, "ecc")
def post_ecc(
    session: Session,
    count: Annotated[int, typer.Argument(help="Number of errors.")] = 1,
    uncorrected: Annotated[bool, typer.Option("--uncorrected", help="Count uncorrected (double-bit) errors.")] = False,
    gpu: Target = None,
    state: StateOption = None,
) -> None:
    """Add ECC errors to a GPU's counter and report the event.

    \b
    Examples:
      hamictl sim inject ecc 2 --uncorrected --gpu 0 --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_control.post_ecc(_one(gpu), count, uncorrected=uncorrected, state=path)
    _report(session, path, f"{count} ECC error(s) {_where(gpu)}")


@verb(app, "reset")
def reset_gpu(session: Session, gpu: Target = None, state: StateOption = None) -> None:
    """Reset an idle GPU, or all GPUs. This destroys instances, applies a pending MIG mode and brings back a lost GPU.

    \b
    Examples:
      hamictl sim inject reset --gpu 0 --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_control.reset_gpu(gpu, state=path)
    _report(session, path, f"reset {_where(gpu)}")


@verb(app, "reboot")
def reboot(session: Session, state: StateOption = None) -> None:
    """Reboot the node. Processes and instances end; only Ampere GPUs keep their MIG mode.

    \b
    Examples:
      hamictl sim inject reboot --state /tmp/node
    """
    path = session.state_file(state)
    node_access.sim_nodes.reboot(Path(path))
    _report(session, path, "rebooted")


def _where(gpu: str | None) -> str:
    return "on the node" if gpu is None else f"on {gpu}"


def _one(gpu: str | None) -> str:
    if gpu is None:
        raise UsageError("missing --gpu", "add --gpu with an index, a uuid or a MIG uuid")
    return gpu


def _report(session: Session, path: str, text: str) -> None:
    document = {**envelope("SimulatedNode", simulated=True), "state": path, "injected": text}
    session.emit(document, lambda: f"{text}\n")
