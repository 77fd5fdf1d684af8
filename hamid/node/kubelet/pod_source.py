# SPDX-License-Identifier: Apache-2.0
"""Where the pods of this node are read: a file, or kubelet's own `/pods`.

An answer that may lack pods is marked incomplete, and an incomplete answer never proves that a pod is gone. While
kubelet has not been up for long, every answer is incomplete: at first it lists only pods that it has met again.
"""

import contextlib
import http.client
import os
import socket
import ssl
import stat
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, Self
from urllib.parse import urlsplit

from msgspec.structs import replace

from hamid.core.config.config import Config, PodsSource
from hamid.core.pods.pod_list import decode_pods
from hamid.core.pods.pods import PodList
from hamid.node.ports import NoPods, PodSource

# 110 pods of 100 KiB each, the largest that etcd would take several times over.
_MAX_BYTES: Final = 64 * 1024 * 1024
_MAX_TOKEN_BYTES: Final = 64 * 1024
_SETTLED_NS: Final = 1_000_000_000
_TIMEOUT_SECONDS: Final = 4.0
_OK: Final = 200
_HTTP: Final = 80
_HTTPS: Final = 443
_SPACE: Final = 0x20
_DELETE: Final = 0x7F
_REFUSED: Final = {401: "the credentials are not accepted", 403: "the credentials lack access to nodes/proxy"}


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
        status = os.lstat(os.path.join(kubelet_dir, "device-plugins", "kubelet.sock"))
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
        problem = "kubelet is not running" if age is None else f"kubelet has been up for less than {self._seconds:g} s"
        return replace(found, complete=False, problem=problem)


class FilePods:
    """A PodList in a file that another program maintains; it is read whenever it changed."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._read: tuple[tuple[int, ...], PodList] | None = None

    def pods(self) -> PodList:
        """The pods in the file."""
        try:
            descriptor = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            # Closed by us: os.fdopen refuses a directory, and leaves the descriptor open.
            with _closing(descriptor):
                status = os.fstat(descriptor)
                identity = _state_of(status)
                known = self._read
                if known is not None and known[0] == identity:
                    return known[1]
                if not stat.S_ISREG(status.st_mode):
                    return _nothing(f"'{self._path}' is not a regular file")
                with open(descriptor, "rb", closefd=False) as file:
                    data = file.read(_MAX_BYTES + 1)
        except OSError as error:
            return _nothing(f"cannot read '{self._path}': {error.strerror}")
        found = _decoded(data, f"'{self._path}'")
        # A file that was just written may be written again within the same tick of its clock.
        if time.time_ns() - status.st_ctime_ns > _SETTLED_NS:
            self._read = (identity, found)
        return found


@contextlib.contextmanager
def _closing(descriptor: int) -> Iterator[None]:
    try:
        yield
    finally:
        os.close(descriptor)


class KubeletPods:
    """Kubelet's `/pods` by https with a token or a client certificate, or by http where that is enabled.

    One question, from the first packet to the last byte of the answer, takes `timeout_seconds` at most.
    """

    def __init__(self, config: Config, timeout_seconds: float = _TIMEOUT_SECONDS) -> None:
        self._config = config
        self._url = urlsplit(config.kubelet_url)
        self._timeout_seconds = timeout_seconds
        self._trusted: tuple[tuple[tuple[int, ...] | None, ...], ssl.SSLContext] | None = None

    def pods(self) -> PodList:
        """The pods that kubelet runs."""
        try:
            status, data = self._get()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._trusted = None
            return _nothing(f"{self._config.kubelet_url}: {_words(error)}")
        if status != _OK:
            said = f": {_REFUSED[status]}" if status in _REFUSED else ""
            return _nothing(f"{self._config.kubelet_url} answered {status}{said}")
        return _decoded(data, self._config.kubelet_url)

    def _get(self) -> tuple[int, bytes]:
        url = self._url
        trust = self._trust() if url.scheme != "http" else None
        headers = self._headers()
        connection = http.client.HTTPConnection(url.hostname or "", url.port or (_HTTP if trust is None else _HTTPS))
        with contextlib.closing(connection), _Deadline(self._timeout_seconds) as deadline:
            self._connect(connection, trust, deadline)
            connection.request("GET", url.path or "/pods", headers=headers)
            answer = connection.getresponse()
            return answer.status, _bounded(answer)

    def _connect(
        self, connection: http.client.HTTPConnection, trust: ssl.SSLContext | None, deadline: "_Deadline"
    ) -> None:
        plain = socket.create_connection((connection.host, connection.port), self._timeout_seconds)
        connection.sock = deadline.socket = plain
        if trust is not None:
            # The deadline must know the socket before the handshake can block.
            wrapped = trust.wrap_socket(plain, server_hostname=connection.host, do_handshake_on_connect=False)
            connection.sock = deadline.socket = wrapped
            wrapped.do_handshake()

    def _trust(self) -> ssl.SSLContext:
        # Certificates on a node rotate; reading all that a machine trusts takes longer than the whole exchange.
        config = self._config
        files = (config.kubelet_ca_file, config.kubelet_client_cert_file, config.kubelet_client_key_file)
        identity = tuple(_identity(each) for each in files)
        known = self._trusted
        if known is None or known[0] != identity:
            self._trusted = known = (identity, _context(config))
        return known[1]

    def _headers(self) -> dict[str, str]:
        headers = {"Accept": "application/json"}
        if self._config.kubelet_token_file:
            headers["Authorization"] = f"Bearer {_token(self._config.kubelet_token_file)}"
        return headers


def _context(config: Config) -> ssl.SSLContext:
    if config.kubelet_insecure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context = ssl.create_default_context(cafile=config.kubelet_ca_file or None)
    if config.kubelet_client_cert_file:
        key = config.kubelet_client_key_file or None
        context.load_cert_chain(config.kubelet_client_cert_file, key, password=_no_password)
    return context


def _identity(path: str) -> tuple[int, ...] | None:
    """What tells one state of a file from another; None for no file, whose reading says why."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return _state_of(status)


def _state_of(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _token(path: str) -> str:
    """The token in a file; raises OSError or ValueError, in whose words nothing of the token is."""
    with open(path, "rb") as file:
        token = file.read(_MAX_TOKEN_BYTES + 1).strip()
    if not token or len(token) > _MAX_TOKEN_BYTES or not all(_SPACE < each < _DELETE for each in token):
        raise ValueError(f"'{path}' contains no token (one word of printable ASCII, at most {_MAX_TOKEN_BYTES} bytes)")
    return token.decode("ascii")


def _no_password() -> str:
    """Called for an encrypted key, for which OpenSSL would ask on the terminal."""
    raise ValueError("the client's key is encrypted, which is not supported")


class _Deadline:
    """A context that ends the exchange on `socket` at the deadline, wherever it waits; raises TimeoutError then."""

    def __init__(self, seconds: float) -> None:
        self.socket: socket.socket | None = None
        self._seconds = seconds
        self._over = threading.Event()
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True

    def _end(self) -> None:
        self._over.set()
        if self.socket is not None:
            # SSLSocket's own shutdown would change the object under the thread that waits.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._timer.cancel()
        # The socket has the same time for each of its waits, and may be first.
        if self._over.is_set() or isinstance(error, TimeoutError):
            raise TimeoutError(f"no complete answer within {self._seconds:g} s") from error


def _bounded(answer: http.client.HTTPResponse) -> bytes:
    """The body; raises ValueError for one that is too long."""
    data = answer.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError(f"the answer is longer than {_MAX_BYTES} bytes")
    return data


def _decoded(data: bytes, where: str) -> PodList:
    if len(data) > _MAX_BYTES:
        return _nothing(f"{where} is larger than {_MAX_BYTES} bytes")
    found = decode_pods(data)
    return found if found.complete else replace(found, problem=f"{where}: {found.problem}")


def _nothing(problem: str) -> PodList:
    return PodList(complete=False, problem=problem)


def _words(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        settings = "kubelet_ca_file, the host in kubelet_url, or kubelet_insecure"
        return f"certificate verify failed: {error.verify_message}; see {settings}"
    if isinstance(error, socket.gaierror | ssl.SSLError):
        return str(error)
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
