# SPDX-License-Identifier: Apache-2.0
"""What a power cut would lose, followed through every call to the system: a stand-in for `Calls`.

POSIX keeps the content of a file from its fsync on, and a name from the fsync of its directory on. A rename that comes
before the fsync of its file may leave an empty file under the new name.
"""

import os

from hamid.node.files.tree import Calls

DATA = {os.write, os.writev, os.pwrite, os.ftruncate, os.sendfile, os.copy_file_range}


class DurabilityCalls(Calls):
    """Runs every call. `lost` has each file that was renamed before its fsync, and after the run `unsynced`, names.

    Names that begin with `temporary`, and the `ignored` one, need not survive.
    """

    def __init__(self, temporary, *, ignored):
        self.temporary = temporary
        self.ignored = ignored
        self.lost = []
        self._dirty = set()
        self._names = {}

    def __call__(self, function, /, *arguments, **named):
        if function is os.rename and arguments[1] != self.ignored:
            source = os.stat(arguments[0], dir_fd=named["src_dir_fd"], follow_symlinks=False)
            if _key(source) in self._dirty:
                self.lost.append(arguments[1])
        result = function(*arguments, **named)
        if function in DATA:
            self._dirty.add(_key(os.fstat(arguments[0])))
        elif function is os.fsync:
            self._dirty.discard(_key(os.fstat(arguments[0])))
            self._names.pop(_key(os.fstat(arguments[0])), None)
        elif function is os.rename:
            self._name(arguments[1], named["dst_dir_fd"])
        elif function is os.mkdir:
            self._name(arguments[0], named["dir_fd"])
        return result

    def _name(self, name, folder):
        if not name.startswith(self.temporary) and name != self.ignored:
            self._names.setdefault(_key(os.fstat(folder)), set()).add(name)

    @property
    def unsynced(self):
        """Names that a power cut at this moment may take back."""
        return sorted(name for names in self._names.values() for name in names)


def _key(status):
    return (status.st_dev, status.st_ino)
