# SPDX-License-Identifier: Apache-2.0
"""What kubelet says of held ids is of now."""

import shutil
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.waiting import inside, until

from hamid.core.pods.pods import HoldingList
from hamid.node.kubelet.holdings import KubeletHoldings
from hamid.node.kubelet.pod_source import FilePods
from hamid.node.single_flight import SingleFlight
from hamid.testing.kubelet import Kubelet


@pytest.fixture
def place():
    """A folder whose path leaves room for the names of sockets."""
    folder = Path(tempfile.mkdtemp(prefix="hk"))
    yield folder
    shutil.rmtree(folder)


class Counted(KubeletHoldings):
    """Numbers the questions; each is answered, with its number, when the test lets it."""

    def __init__(self):
        super().__init__("/nowhere", 0)
        self.asked = 0
        self.answer = threading.Event()

    def _ask(self):
        self.asked += 1
        number = self.asked
        assert self.answer.wait(60)
        return HoldingList(complete=True, problem=str(number))


def test_no_answer_is_older_than_its_question():
    """Questions one after the other are asked each; all that come while one is on its way share the next one."""
    source = Counted()
    source.answer.set()
    assert [source.holdings().problem for _ in range(2)] == ["1", "2"]
    source.answer.clear()
    with ThreadPoolExecutor(60) as pool:
        first = pool.submit(source.holdings)
        until(lambda: source.asked == 3)
        others = [pool.submit(source.holdings) for _ in range(59)]
        until(lambda: inside(SingleFlight.result, "wanted_at") == 60)
        source.answer.set()
        assert first.result().problem == "3"
        assert {each.result().problem for each in others} == {"4"}


def test_kubelet_is_asked_and_its_absence_told(place):
    """A kubelet that runs answers; one that is too young or gone gives no complete list, and says why."""
    with Kubelet(place):
        assert KubeletHoldings(str(place), 0).holdings() == HoldingList(holdings=(), complete=True, problem="")
        young = KubeletHoldings(str(place), 60).holdings()
        assert not young.complete
        assert "started only recently" in young.problem
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
