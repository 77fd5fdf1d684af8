# SPDX-License-Identifier: Apache-2.0
"""Where pods are read: a hostile file or kubelet costs one incomplete answer in words, in time, and no secret."""

import contextlib
import os
import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from hamid.core.config.config import Config
from hamid.node.kubelet.pod_source import FilePods, KubeletPods
from hamid.testing.kubelet_http import PodServer

EMPTY = b'{"kind": "PodList", "items": []}'
SECRET = "sEcReT"


def descriptors():
    return {each.name for each in Path("/proc/self/fd").iterdir()}


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate of localhost and its key."""
    return signed(tmp_path)


def signed(folder):
    """Another one with every call."""
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command, *names, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


@pytest.fixture
def kubelet():
    """Serves an empty list with these settings; its URL. All ends with the test."""
    servers = []

    def serve(**settings):
        servers.append(PodServer(lambda: EMPTY, **settings))
        return servers[-1].url + "/pods"

    yield serve
    for each in servers:
        each.close()


def asked(url, *, seconds=4.0, **settings):
    return KubeletPods(Config(kubelet_url=url, **settings), seconds).pods()


@pytest.mark.parametrize("kind", ["folder", "fifo", "socket", "nothing", "too long a name", "device"])
def test_what_is_no_file_is_told_and_leaves_nothing_open(tmp_path, monkeypatch, kind):
    """No descriptor stays open and no call waits for a writer."""
    path = tmp_path / "pods.json"
    if kind == "folder":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        monkeypatch.chdir(tmp_path)  # the path itself may be too long for a socket's name
        with socket.socket(socket.AF_UNIX) as bound:
            bound.bind(path.name)
    elif kind == "too long a name":
        path = tmp_path / ("x" * 300)
    elif kind == "device":
        path = "/dev/zero"
    source = FilePods(str(path))
    source.pods()
    before = descriptors()
    for _ in range(20):
        found = source.pods()
        assert not found.complete
        assert str(path) in found.problem
    assert descriptors() == before


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff\xfe", b'{"items": [{"metadata": {"uid": "\xff", "name": "a"}, "spec": {"containers": []}}]}', b"{}"],
    ids=["empty", "no UTF-8", "no UTF-8 in a name", "no items"],
)
def test_bytes_that_are_no_list_of_pods_are_a_problem(tmp_path, data):
    """The answer is incomplete and says where."""
    file = tmp_path / "pods.json"
    file.write_bytes(data)
    found = FilePods(str(file)).pods()
    assert not found.complete
    assert str(file) in found.problem


@pytest.mark.parametrize("by_address", [True, False])
def test_kubelet_is_read_over_https_with_a_token(tmp_path, certificate, kubelet, by_address):
    """The server's certificate is checked for each of its names, and only that server gets the token."""
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    url = kubelet(token=SECRET, tls=context)
    token = tmp_path / "token"
    token.write_text(f"{SECRET}\n")
    url = url if by_address else url.replace("127.0.0.1", "localhost")
    told = asked(url, kubelet_ca_file=str(cert), kubelet_token_file=str(token))
    assert told.complete, told.problem
    assert "certificate verify failed" in asked(url, kubelet_token_file=str(token)).problem
    assert asked(url, kubelet_insecure=True, kubelet_token_file=str(token)).complete
    assert "401" in asked(url, kubelet_ca_file=str(cert)).problem


def test_a_rotated_authority_is_believed_from_the_next_question_on(tmp_path, certificate, kubelet):
    """What was read of the file before holds as long as the file is the same, and no longer."""
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    (tmp_path / "other").mkdir()
    authority, other = tmp_path / "authority.pem", signed(tmp_path / "other")[0]
    source = KubeletPods(Config(kubelet_url=kubelet(tls=context), kubelet_ca_file=str(authority)))
    assert not source.pods().complete
    for believed in (cert, other, cert):
        authority.write_bytes(believed.read_bytes())
        for _ in range(2):
            assert source.pods().complete is (believed is cert)


def test_a_kubelet_may_want_a_client_certificate(certificate, kubelet):
    """With one it answers, without one it does not."""
    cert, key = certificate
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cert)
    url = kubelet(tls=context)
    told = {"kubelet_client_cert_file": str(cert), "kubelet_client_key_file": str(key)}
    assert asked(url, kubelet_ca_file=str(cert), **told).complete
    assert not asked(url, kubelet_ca_file=str(cert)).complete


def test_an_encrypted_key_is_refused_and_nobody_is_asked(tmp_path, certificate):
    """OpenSSL would wait for a password on the terminal for ever."""
    cert, key = certificate
    locked = tmp_path / "locked.pem"
    lock = ["openssl", "ec", "-in", key, "-out", locked, "-aes256", "-passout", "pass:xyzzy"]
    subprocess.run(lock, check=True, capture_output=True)
    told = {"kubelet_client_cert_file": str(cert), "kubelet_client_key_file": str(locked)}
    found = asked("https://127.0.0.1:1/pods", **told)
    assert not found.complete
    assert "encrypted" in found.problem


@pytest.mark.parametrize("token", [b"", b"two words", b"a\r\nX-Other: 1", b"\xff\xfe", "naïve".encode(), b"x" * 70_000])
def test_a_bad_token_is_told_by_its_file_alone(tmp_path, token):
    """Nothing of what may be a secret is in the words."""
    file = tmp_path / "token"
    file.write_bytes(SECRET.encode() + token if token else b" \n")
    before = descriptors()
    found = asked("http://127.0.0.1:1/pods", kubelet_token_file=str(file))
    assert str(file) in found.problem
    assert SECRET not in found.problem
    assert descriptors() == before


@contextlib.contextmanager
def server(talk):
    """The port of a server that does this with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve():
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listening.accept()
                    with peer, contextlib.suppress(OSError):
                        talk(peer)

        serving = threading.Thread(target=serve, daemon=True)
        serving.start()
        yield listening.getsockname()[1]
        # Closing alone does not wake who accepts.
        listening.shutdown(socket.SHUT_RDWR)
        serving.join()


def drip(text, then):
    """One that says something, and then a byte every now and then, so that no wait for a byte is long."""

    def talk(peer):
        peer.sendall(text)
        while True:
            peer.sendall(then)
            time.sleep(0.05)

    return talk


@pytest.mark.parametrize(
    ("scheme", "text", "then"),
    [
        ("http", b"", b"H"),
        ("http", b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
        ("http", b"HTTP/1.1 200 OK\r\n\r\n", b" "),
        ("http", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        ("https", b"\x16\x03\x03\x40\x00", b"\x02"),
    ],
    ids=["status", "headers", "body", "chunks", "handshake"],
)
def test_a_kubelet_that_drips_is_left_at_the_deadline(scheme, text, then):
    """One deadline covers every part of the exchange; no descriptor stays open."""
    with server(drip(text, then)) as port:
        asked(f"{scheme}://127.0.0.1:{port}/pods", seconds=0.1)
        before = len(descriptors())
        found = asked(f"{scheme}://127.0.0.1:{port}/pods", seconds=0.5)
        assert not found.complete
    assert "within 0.5 s" in found.problem or "header" in found.problem
    assert len(descriptors()) <= before + 1


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"HTTP/1.1 999999999999 x\r\n\r\n"],
    ids=["nothing", "another protocol", "short", "status"],
)
def test_an_answer_that_is_none_is_a_problem(answer):
    """Words with the URL, never an exception."""

    def talk(peer):
        peer.recv(4096)
        peer.sendall(answer)

    with server(talk) as port:
        found = asked(f"http://127.0.0.1:{port}/pods")
    assert not found.complete
    assert f"127.0.0.1:{port}" in found.problem
