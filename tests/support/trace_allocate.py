# SPDX-License-Identifier: Apache-2.0
"""Counts the files of hamid that one Allocate enters: `python -m support.trace_allocate [mig|share]`, run in TESTS.

The second Allocate of a node is traced, from the engine's entry to its grant, in this thread and on every worker. A
file counts when one of its functions is called, a property of a value included; a change is two calls in a row that are
in different files. The servers are not part of it.

The second total is of the files that a reader of the flow must open. It leaves out those in which only accessors ran,
which are constructors, and functions with a body of less than 3 lines without the docstring; the counters; and the
layers below the engine whose functions say by their names what they do: the binding of NVML and the ledger's SQL.

Prints the totals, then the calls in each file; a file that no reader must open has a minus before its name.
"""

import ast
import sys
import tempfile
import threading
from collections import Counter, defaultdict
from pathlib import Path

import hamid
from hamid.core.claims.grant import Grant
from hamid.node.simulation import control
from support.nodes import SHARE, World, ids, install_library, open_node
from support.scene import PLACE, Scene

PACKAGE = str(Path(hamid.__file__).parent) + "/"
MODES = ("mig", "share")
ACCESSOR_LINES = 3
KNOWN_BY_NAME = (
    "engine/driver/counters.py",
    "node/driver/calls.py",
    "node/driver/mutations.py",
    "node/driver/nvml.py",
    "node/driver/profiles.py",
    "node/ledger/",
)


class Trace:
    """The files of hamid in the order in which their functions were called, over all threads that have `note`.

    `functions` are by file the first lines of those that were called.
    """

    def __init__(self):
        self.files = []
        self.functions = defaultdict(set)
        self.guard = threading.Lock()

    def note(self, frame, event, _argument):
        name = frame.f_code.co_filename
        if event == "call" and name.startswith(PACKAGE):
            with self.guard:
                self.files.append(name.removeprefix(PACKAGE))
                self.functions[self.files[-1]].add(frame.f_code.co_firstlineno)

    def install(self, node):
        """Trace threads that start, the workers that wait already, and this thread last."""
        threading.setprofile(self.note)
        for worker in list(node.parts.session.workers._workers.values()):
            ready = threading.Event()
            worker.submit(lambda ready=ready: self._profile(ready))
            assert ready.wait(60), "a worker does not answer"
        self.files.clear()
        self.functions.clear()
        sys.setprofile(self.note)

    def _profile(self, ready):
        sys.setprofile(self.note)
        ready.set()

    def changes(self):
        return sum(before != after for before, after in zip(self.files, self.files[1:], strict=False))

    def to_read(self):
        """The files that a reader of the flow must open."""
        return {
            name
            for name, lines in self.functions.items()
            if not name.startswith(KNOWN_BY_NAME) and lines - set(accessors(Path(PACKAGE) / name))
        }


def accessors(path):
    """The first lines of a file's accessors, as its code objects have them, and of its lambdas and comprehensions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            lines = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
            if node.name == "__init__" or lines < ACCESSOR_LINES:
                yield node.decorator_list[0].lineno if node.decorator_list else node.lineno
        elif isinstance(node, ast.Lambda | ast.GeneratorExp | ast.ListComp | ast.SetComp | ast.DictComp):
            yield node.lineno


def second_allocate(mode, folder):
    """The trace of the second Allocate on a node with two GPUs."""
    scene, world, trace = Scene(folder / "node", "2xA100-SXM4-40GB"), World(), Trace()
    if mode == "share":
        install_library(scene)
    node = open_node(scene, world, **(SHARE if mode == "share" else {}))
    try:
        node.start()
        world.add("first")
        chosen = ids(node)
        assert isinstance(node.allocate(chosen), Grant)
        world.hold("first", chosen)
        world.add("second")
        chosen = ids(node)
        trace.install(node)
        outcome = node.allocate(chosen)
        sys.setprofile(None)
        threading.setprofile(None)
        assert isinstance(outcome, Grant), outcome
    finally:
        node.close()
        scene.close()
    return trace


def main(words):
    mode = words[0] if words else MODES[0]
    if len(words) > 1 or mode not in MODES:
        print(__doc__, file=sys.stderr)
        return 2
    control.preload()
    with tempfile.TemporaryDirectory(dir=PLACE) as folder:
        trace = second_allocate(mode, Path(folder))
    calls = Counter(trace.files)
    to_read = trace.to_read()
    print(f"{mode}: {len(calls)} files, {trace.changes()} changes of file, {len(to_read)} files to read")
    for name in sorted(calls):
        print(f"{calls[name]:6} {' ' if name in to_read else '-'} {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
