# SPDX-License-Identifier: Apache-2.0
"""What kubelet says of held ids is of now."""

import shutil
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hamid.core.pods.pods import HoldingList
from hamid.node.kubelet.holdings import KubeletHoldings
from hamid.node.kubelet.pod_source import FilePods
from hamid.testing.kubelet import Kubelet


@pytest.fixture
def place():
    """A folder whose path leaves room for the names of sockets."""
    folder = Path(tempfile.mkdtemp(prefix="hk"))
    yield folder
    shutil.rmtree(folder)


class Counted(KubeletHoldings):
    """Counts the questions, each of which takes a while; an answer carries the time of its question."""

    def __init__(self):
        super().__init__("/nowhere", 0)
        self.asked = 0

    def _ask(self):
        self.asked += 1
        began = time.monotonic()
        time.sleep(0.02)
        return HoldingList(complete=True, problem=str(began))


def test_no_answer_is_older_than_its_question():
    """Two questions one after the other are two; sixty at once are few, and each gets an answer from after it asked."""
    source = Counted()
    source.holdings()
    source.holdings()
    assert source.asked == 2

    def ask(_):
        wanted_at = time.monotonic()
        return float(source.holdings().problem) - wanted_at

    with ThreadPoolExecutor(60) as pool:
        assert min(pool.map(ask, range(60))) >= 0
    assert source.asked < 20


def test_kubelet_is_asked_and_its_absence_told(place):
    """A kubelet that runs answers; one that is too young or gone gives no complete list, and says why."""
    with Kubelet(place):
        assert KubeletHoldings(str(place), 0).holdings() == HoldingList(holdings=(), complete=True, problem="")
        young = KubeletHoldings(str(place), 60).holdings()
        assert not young.complete
        assert "not been up" in young.problem
    gone = KubeletHoldings(str(place), 0).holdings()
    assert not gone.complete
    assert gone.problem


def test_a_file_of_pods_is_read_again_when_it_was_just_written(tmp_path):
    """Two writes of one size within one tick of the clock are two contents."""
    file = tmp_path / "pods.json"
    source = FilePods(str(file))
    for number in range(300):
        name = "ab"[number % 2]
        pod = f'{{"metadata": {{"uid": "{name}", "name": "{name}", "namespace": "n"}}, "spec": {{"containers": []}}}}'
        file.write_text(f'{{"kind": "PodList", "items": [{pod}]}}')
        assert [pod.uid for pod in source.pods().pods] == [name]
