# SPDX-License-Identifier: Apache-2.0
"""Makes the symbol table of the simulated CUDA driver: `generate_symbols.py names.txt symbol_table.c`.

Every function exists: those that no source defines are weak and answer NOT_SUPPORTED, and the variants for the
per-thread default stream go on to the plain function.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

ENTRY = re.compile(r"(\d+)(=?\w*)")
PER_THREAD = ("_ptds", "_ptsz")

HEAD = """/* SPDX-License-Identifier: Apache-2.0 */
/* Generated from names.txt. */
#include "cuda/api/symbols.h"

#define UNSUPPORTED(name) \\
    __attribute__((weak, visibility("default"))) int name(void) \\
    { \\
        return symbol_unsupported(#name); \\
    }
#if defined(__x86_64__)
#define JUMP "jmp "
#elif defined(__aarch64__)
#define JUMP "b "
#else
#error "the processor's jump instruction is needed here"
#endif
#define FORWARD(name, target) \\
    int name(void); \\
    __asm__(".text\\n.globl " #name "\\n.type " #name ", %function\\n" #name ":\\n" \\
            JUMP #target "\\n.size " #name ", .-" #name "\\n");

"""


def rows(text: str) -> list[tuple[str, bool, int, str]]:
    """Base name, whether it is for the per-thread stream, version and symbol of every entry."""
    found = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        base, *entries = line.split()
        for entry in entries:
            match = ENTRY.fullmatch(entry)
            if match is None:
                raise SystemExit(f"names.txt: '{entry}' of {base} is no version with a suffix")
            suffix = match[2]
            symbol = suffix[1:] if suffix.startswith("=") else base + suffix
            found.append((base, symbol.endswith(PER_THREAD), int(match[1]), symbol))
    return sorted(found)


def main(source: Path, target: Path) -> None:
    """Write the table."""
    table = rows(source.read_text(encoding="utf-8"))
    symbols = sorted({symbol for *_, symbol in table})
    plain = [symbol for symbol in symbols if not symbol.endswith(PER_THREAD)]
    lines = [f"UNSUPPORTED({symbol})" for symbol in plain]
    for symbol in symbols:
        if symbol.endswith(PER_THREAD):
            forward = symbol[: -len("_ptsz")]
            lines.append(f"FORWARD({symbol}, {forward})")
    lines.append("\nconst struct symbol symbol_table[] = {")
    lines += [f'    {{"{base}", {version}, {int(own)}, (void *){symbol}}},' for base, own, version, symbol in table]
    lines.append("};\nconst unsigned symbol_count = sizeof symbol_table / sizeof symbol_table[0];")
    target.write_text(HEAD + "\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
