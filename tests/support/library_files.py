# SPDX-License-Identifier: Apache-2.0
"""Shared objects that pass for a libvgpu, of any size."""

import subprocess
from pathlib import Path

SOURCE_CODE = """
void *dlsym(void *handle, const char *name) { (void)handle; (void)name; return 0; }
int cuInit(unsigned flags) { (void)flags; return 0; }
const char fill[] = "%s";
const unsigned char body[%d] = {[0 ... %d] = %d};
"""


def build(folder, name, byte, size=30_000):
    """A shared object that exports what a libvgpu must; its body is `size` times `byte`."""
    path = Path(folder) / name
    code = SOURCE_CODE % (name, size, size - 1, byte)
    command = ["gcc", "-shared", "-fPIC", "-O0", "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=code, text=True, check=True)
    return path
