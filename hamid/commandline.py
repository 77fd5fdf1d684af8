# SPDX-License-Identifier: Apache-2.0
"""hamid's arguments, and the node that they select: the real one, or a simulation that never touches it."""

import argparse
import contextlib
import importlib.metadata
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from hamid.core.errors import UsageError
from hamid.node.paths import Paths
from hamid.node.simulation import control, lifecycle

_SPEC: Final = re.compile(r"[0-9]+x")
_KUBELET: Final = "/var/lib/kubelet"
_ABOUT: Final = """\
Run the GPU daemon of this node: kubelet's device plugin for nvidia.com/gpu, with MIG instances on demand and
libvgpu shares. It reads /etc/hami/hamid.yaml, its drop-ins and HAMi's own files; SIGHUP reloads them."""
_EXAMPLES: Final = """\
examples:
  hamid                                      serve this node (as hamid.service does)
  hamid --check-config                       check the configuration and exit
  hamid --once                               restore and release claims once and exit
  hamid --sim 2xA100-SXM4-40GB --kubelet-root /tmp/kubelet
                                             serve a temporary simulated node

exit codes: 0 ok, 1 failure, 2 usage error or invalid configuration, 4 not permitted, 6 no driver (--once),
7 another hamid or hamictl holds the node"""


class Options(Struct, frozen=True, kw_only=True):
    """The command line."""

    root: str | None = None
    sim: str | None = None
    kubelet_root: str | None = None
    once: bool = False
    check_config: bool = False
    takeover: bool = False


class Setup(Struct, frozen=True, kw_only=True):
    """The node that this process serves."""

    paths: Paths
    kubelet_dir: str
    simulated: bool
    takeover: bool


def parse_arguments(arguments: Sequence[str]) -> Options:
    """The options; a usage error ends the process with status 2."""
    parser = argparse.ArgumentParser(
        prog="hamid", description=_ABOUT, epilog=_EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", metavar="DIR", help="root directory of the node's files (default /)")
    parser.add_argument(
        "--sim", metavar="SPEC|STATE", help="serve a simulated node: 2xA30, or a state file of 'hamictl sim up'"
    )
    parser.add_argument("--kubelet-root", metavar="DIR", help=f"kubelet's directory (default {_KUBELET})")
    parser.add_argument(
        "--once", action="store_true", help="restore and release claims once, without serving, and exit"
    )
    parser.add_argument(
        "--check-config", action="store_true", help="check the configuration, print every problem and exit"
    )
    parser.add_argument("--takeover", action="store_true", help="serve even if another program manages the GPUs")
    parser.add_argument("--version", action="version", version=f"hamid {importlib.metadata.version('hami-node')}")
    found = parser.parse_args(arguments)
    return Options(**vars(found))


@contextlib.contextmanager
def prepare(options: Options) -> Iterator[Setup]:
    """The node to serve within the block; raises UsageError. A temporary node is removed afterwards."""
    stray = sorted(name for name in os.environ if name.startswith("HAMI_SIM_"))
    if options.sim is None and stray:
        raise UsageError(
            f"{', '.join(stray)} is set, which would replace the real driver with a simulated one",
            "unset it, or pass --sim",
        )
    if options.sim is None:
        yield _setup(options, options.root or "/", simulated=False)
    elif _SPEC.match(options.sim):
        with _throw_away(options.sim) as state:
            yield _simulated(options, state)
    else:
        control.check_state(options.sim)
        yield _simulated(options, Path(options.sim).resolve())


@contextlib.contextmanager
def _throw_away(spec: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hamid-sim-"))
    try:
        lifecycle.up(folder / "node", spec)
        yield folder / "node"
        lifecycle.down(folder / "node")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _simulated(options: Options, state: Path) -> Setup:
    os.environ.pop(control.NODE_VARIABLE, None)
    os.environ[control.STATE_VARIABLE] = str(state)
    control.preload()
    return _setup(options, options.root or str(lifecycle.root_of(state)), simulated=True)


def _setup(options: Options, root: str, *, simulated: bool) -> Setup:
    paths = Paths(os.path.abspath(root))
    kubelet_dir = options.kubelet_root or paths.under(_KUBELET)
    return Setup(
        paths=paths,
        kubelet_dir=os.path.abspath(kubelet_dir),
        simulated=simulated,
        takeover=options.takeover,
    )
