# SPDX-License-Identifier: Apache-2.0
"""Where the pods of this node are read: a file, or kubelet's own `/pods`.

An answer that may lack pods says so; the law is that nobody concludes from it that a pod is gone. So does every answer
while kubelet has not been up for long: it lists first the pods that it has met again.
"""

import http.client
import os
import socket
import ssl
import stat
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import SplitResult, urlsplit

from msgspec.structs import replace

from hamid.core.config import Config, PodsSource
from hamid.core.pod_json import decode_pods
from hamid.core.pods import PodList
from hamid.node.ports import NoPods, PodSource

# 110 pods of 100 KiB each, the largest that etcd would take several times over.
_MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_TOKEN_BYTES: Final = 64 * 1024
_SETTLED_NS: Final = 1_000_000_000
_TIMEOUT_SECONDS: Final = 4.0
_OK: Final = 200
_REFUSED: Final = {401: "it does not know us", 403: "we may not read nodes/proxy"}


def pod_source(config: Config, kubelet_dir: str) -> PodSource:
    """The configured source; `kubelet_dir` is /var/lib/kubelet."""
    if config.pods_source is PodsSource.NONE:
        return NoPods()
    source: PodSource = FilePods(config.pods_file)
    if config.pods_source is PodsSource.KUBELET:
        source = KubeletPods(config)
    return Settled(source, kubelet_dir, config.kubelet_settle_seconds)


def kubelet_age_seconds(kubelet_dir: str, clock: Callable[[], float] = time.time) -> float | None:
    """How long ago kubelet made its registration socket, which it does at every start; None without one."""
    try:
        status = os.lstat(os.path.join(kubelet_dir, "device-plugins", "kubelet.sock"))  # noqa: PTH118
    except OSError:
        return None
    return max(clock() - status.st_ctime, 0.0) if stat.S_ISSOCK(status.st_mode) else None


class Settled:
    """Another source whose answers count as complete only once kubelet has been up for `seconds`."""

    def __init__(self, source: PodSource, kubelet_dir: str, seconds: float) -> None:
        self._source = source
        self._kubelet_dir = kubelet_dir
        self._seconds = seconds

    def pods(self) -> PodList:
        """The pods of now."""
        # Before the list is read: a kubelet that restarts in between would make an old age of a new list.
        age = kubelet_age_seconds(self._kubelet_dir)
        found = self._source.pods()
        if not found.complete or (age is not None and age >= self._seconds):
            return found
        problem = "kubelet is not there" if age is None else f"kubelet has been up for {age:.0f} s only"
        return replace(found, complete=False, problem=problem)


class FilePods:
    """A PodList in a file that somebody keeps; it is read whenever it changed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read: tuple[tuple[int, ...], PodList] | None = None

    def pods(self) -> PodList:
        """The pods in the file."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(descriptor, "rb") as file:
                status = os.fstat(descriptor)
                identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
                known = self._read
                if known is not None and known[0] == identity:
                    return known[1]
                if not stat.S_ISREG(status.st_mode):
                    return _nothing(f"'{self._path}' is no regular file")
                data = file.read(_MAX_BYTES + 1)
        except OSError as error:
            return _nothing(f"cannot read '{self._path}': {error.strerror}")
        found = _decoded(data, f"'{self._path}'")
        # A file that was just written may be written again within the same tick of its clock.
        if time.time_ns() - status.st_ctime_ns > _SETTLED_NS:
            self._read = (identity, found)
        return found


class KubeletPods:
    """Kubelet's `/pods` by https with a token or a client certificate, or by http where that is enabled."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._url = urlsplit(config.kubelet_url)

    def pods(self) -> PodList:
        """The pods that kubelet runs."""
        try:
            status, data = self._get()
        except (OSError, http.client.HTTPException, ValueError) as error:
            return _nothing(f"{self._config.kubelet_url}: {_words(error)}")
        if status != _OK:
            said = f": {_REFUSED[status]}" if status in _REFUSED else ""
            return _nothing(f"{self._config.kubelet_url} answered {status}{said}")
        return _decoded(data, self._config.kubelet_url)

    def _get(self) -> tuple[int, bytes]:
        connection = self._connection(self._url)
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        try:
            connection.request("GET", self._url.path or "/pods", headers=self._headers())
            answer = connection.getresponse()
            return answer.status, _bounded(answer, deadline)
        finally:
            connection.close()

    def _connection(self, url: SplitResult) -> http.client.HTTPConnection:
        if url.scheme == "http":
            return http.client.HTTPConnection(url.hostname or "", url.port, timeout=_TIMEOUT_SECONDS)
        return http.client.HTTPSConnection(
            url.hostname or "", url.port, timeout=_TIMEOUT_SECONDS, context=self._trust()
        )

    def _trust(self) -> ssl.SSLContext:
        # Anew each time: certificates and tokens on a node rotate.
        config = self._config
        context = ssl.create_default_context(cafile=config.kubelet_ca_file or None)
        if config.kubelet_insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        if config.kubelet_client_cert_file:
            context.load_cert_chain(config.kubelet_client_cert_file, config.kubelet_client_key_file or None)
        return context

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if self._config.kubelet_token_file:
            with open(self._config.kubelet_token_file, "rb") as file:  # noqa: PTH123  # a name from configuration
                token = file.read(_MAX_TOKEN_BYTES).strip().decode("ascii")
            headers["Authorization"] = f"Bearer {token}"
        return headers


def _bounded(answer: http.client.HTTPResponse, deadline: float) -> bytes:
    """The body; raises ValueError or TimeoutError for one that is too long or comes too slowly."""
    parts: list[bytes] = []
    size = 0
    while part := answer.read1(1 << 20):
        parts.append(part)
        size += len(part)
        if size > _MAX_BYTES:
            raise ValueError(f"the answer is longer than {_MAX_BYTES} bytes")
        if time.monotonic() > deadline:
            raise TimeoutError("the answer takes too long")
    return b"".join(parts)


def _decoded(data: bytes, where: str) -> PodList:
    if len(data) > _MAX_BYTES:
        return _nothing(f"{where} is larger than {_MAX_BYTES} bytes")
    found = decode_pods(data)
    return found if found.complete else replace(found, problem=f"{where}: {found.problem}")


def _nothing(problem: str) -> PodList:
    return PodList(complete=False, problem=problem)


def _words(error: Exception) -> str:
    if isinstance(error, socket.gaierror | ssl.SSLError):
        return str(error)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
