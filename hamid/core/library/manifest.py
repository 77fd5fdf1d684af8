# SPDX-License-Identifier: Apache-2.0
"""The record of the installation: one entry per file, the current version, and the pin of a rollback."""

import re

import msgspec
from msgspec import Struct

from hamid.core.library.plan import Digest, library_version
from hamid.core.version import API_VERSION

KIND = "LibraryManifest"
# Python's form of a byte in a file name that is not UTF-8.
_SURROGATE = re.compile("[\udc80-\udcff]")
_ESCAPED = re.compile("%([0-9A-F]{2})")


class Record(Struct, frozen=True, rename="camel"):
    """One installed file: its expected content, its source, and when it was installed (RFC 3339, UTC)."""

    sha256: str
    size: int
    mode: int
    version: str
    source: str
    installed_at: str


class Manifest(Struct, frozen=True, rename="camel"):
    """The manifest: `version` came with the last bundle, `pinned` overrides it; keys are encoded paths."""

    api_version: str = API_VERSION
    kind: str = KIND
    version: str = ""
    pinned: str = ""
    files: dict[str, Record] = {}

    def record(self, path: str) -> Record | None:
        """The entry of a path of the destination."""
        return self.files.get(encode_path(path))

    @property
    def paths(self) -> list[str]:
        """The recorded paths of the destination."""
        return [decode_path(key) for key in self.files]


def make_record(path: str, digest: Digest, *, size: int, mode: int, source: str, now: str) -> Record:
    """The entry for a file that was installed or found equal."""
    return Record(digest.sha256, size, mode, library_version(path) or "", source, now)


def parse_manifest(data: bytes) -> Manifest | None:
    """The manifest in these bytes, or None if this version cannot trust them."""
    try:
        found = msgspec.json.decode(data, type=Manifest)
    except msgspec.DecodeError:
        return None
    return found if found.api_version == API_VERSION and found.kind == KIND else None


def format_manifest(manifest: Manifest) -> bytes:
    """The manifest as stored on disk, one key a line for readability."""
    return bytes(msgspec.json.format(msgspec.json.encode(manifest), indent=1)) + b"\n"


def encode_path(path: str) -> str:
    """A path as valid Unicode: file names on Linux are bytes."""
    return _SURROGATE.sub(lambda m: f"%{ord(m[0]) & 0xFF:02X}", path.replace("%", "%25"))


def decode_path(key: str) -> str:
    """The inverse of `encode_path`."""
    return _ESCAPED.sub(lambda m: bytes([int(m[1], 16)]).decode("utf-8", "surrogateescape"), key)


def shown_path(path: str) -> str:
    """A path with unprintable characters escaped, so that it is safe in a terminal or a document."""
    if path.isprintable():
        return path
    return "".join(
        c
        if c.isprintable()
        else c.encode("utf-8", "surrogateescape").decode("latin-1").encode("unicode_escape").decode()
        for c in path
    )
