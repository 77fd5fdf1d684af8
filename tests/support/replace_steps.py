# SPDX-License-Identifier: Apache-2.0
"""Kill or fail `replace_file` at each of its calls to the system; a program of its own, as it forks.

`replace_steps.py MODE FOLDER`. Prints one JSON object: a step a call, with the content and the names that it left.
"""

import errno
import json
import os
import sys
from pathlib import Path

from hamid.node.files.replace import replace_file
from hamid.testing.file_steps import CountingCalls, FailingCalls, KillingCalls

MODE, FOLDER = sys.argv[1], Path(sys.argv[2])
FILE = FOLDER / "file"
OWNER = os.geteuid(), os.getegid()


def replace(calls):
    replace_file(str(FILE), b"new", mode=0o640, owner=OWNER, calls=calls)


def killed(at, *, after):
    """True when the child was killed."""
    child = os.fork()
    if child == 0:
        try:
            replace(KillingCalls(at, after=after))
        finally:
            os._exit(0)
    return os.waitpid(child, 0)[1] != 0


def failed(at, code):
    """The path that the error names, None for no error."""
    try:
        replace(FailingCalls(at, code))
    except OSError as error:
        return error.filename
    return None


def restored():
    for entry in FOLDER.iterdir():
        entry.unlink()
    FILE.write_bytes(b"old")


def main():
    restored()
    counting = CountingCalls()
    replace(counting)
    found = []
    for at, name in enumerate(counting.names):
        for variant in (False, True) if MODE == "kill" else (errno.ENOSPC, errno.EIO, errno.EACCES):
            restored()
            answer = killed(at, after=variant) if MODE == "kill" else failed(at, variant)
            left = sorted(each.name for each in FOLDER.iterdir() if each != FILE)
            found.append({"call": name, "answer": answer, "content": FILE.read_text(), "left": left})
    sys.stdout.write(json.dumps({"calls": counting.names, "steps": found}))


if __name__ == "__main__":
    main()
