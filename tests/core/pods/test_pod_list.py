# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from hamid.core.pods.pod_list import decode_pods
from hamid.core.pods.pods import Container, Pod, PodList

METADATA = {"uid": "u", "name": "job"}
BARE = {"metadata": METADATA, "spec": {"containers": [{"name": "main"}]}}


def read(*pods):
    return decode_pods(json.dumps({"items": pods}).encode())


WHOLE_POD = {
    "metadata": {
        "uid": "u",
        "name": "job",
        "namespace": "ns",
        "annotations": {"kubernetes.io/config.hash": "h", "a": "b"},
        "creationTimestamp": "1970-01-01T00:00:05Z",
        "deletionTimestamp": "1970-01-01T00:00:09Z",
    },
    "spec": {
        "initContainers": [
            {"name": "first", "restartPolicy": "Always"},
            {"name": "second", "resources": {"limits": {"nvidia.com/gpu": 1}}},
        ],
        "containers": [
            {
                "name": "main",
                "restartPolicy": "Always",
                "env": [{"name": "A", "value": "1"}, {"name": "B"}],
                "resources": {"limits": {"nvidia.com/gpu": "2"}},
            },
        ],
    },
    "status": {
        "phase": "Running",
        "containerStatuses": [{"name": "main", "state": {"running": {}}}],
        "initContainerStatuses": [{"name": "first", "state": {"terminated": {"exitCode": 0}}}, {"name": "second"}],
    },
}
WHOLE_LIST = PodList(
    pods=(
        Pod(
            uid="u",
            namespace="ns",
            name="job",
            phase="Running",
            deleted=True,
            annotations={"kubernetes.io/config.hash": "h", "a": "b"},
            containers=(
                Container(name="first", init=True, restartable=True, running=False, terminated=True),
                Container(name="second", init=True, limits={"nvidia.com/gpu": "1"}),
                Container(
                    name="main",
                    limits={"nvidia.com/gpu": "2"},
                    env={"A": "1"},
                    running=True,
                    terminated=False,
                ),
            ),
            created=5.0,
            static_hash="h",
        ),
    ),
    complete=True,
)


def test_a_pod_is_read_with_everything_that_is_used():
    """Init containers come first, a sidecar is told apart, quantities are texts, and a literal environment is kept."""
    assert read(WHOLE_POD) == WHOLE_LIST


def test_a_pod_that_says_little_has_the_apis_defaults():
    """No status is a pod that is pending, no creation time is an unknown one, no namespace the default one."""
    assert read(BARE).pods == (
        Pod(uid="u", namespace="default", name="job", phase="Pending", containers=(Container(name="main"),)),
    )


@pytest.mark.parametrize(("text", "created"), [("1970-01-01T00:00:05", 5.0), ("1970-01-01T01:00:05+01:00", 5.0)])
def test_a_time_without_a_zone_is_universal(text, created):
    """Kubernetes writes UTC."""
    assert read({**BARE, "metadata": {**METADATA, "creationTimestamp": text}}).pods[0].created == created


def test_a_list_longer_than_any_nodes_is_not_believed():
    """Nothing of it is read, and the list is not complete, so that no pod counts as gone."""
    found = decode_pods(b"[" + b",".join([b"1"] * 10_001) + b"]")
    assert found == PodList(complete=False, problem="it has 10001 pods, more than any node")


def test_a_problem_of_every_bad_pod_is_told_up_to_three():
    """The good pods of the list are still read."""
    found = read(1, BARE, 2, 3, 4)
    assert [pod.uid for pod in found.pods] == ["u"]
    assert not found.complete
    assert [part.partition(":")[0] for part in found.problem.split("; ")] == ["pod 0", "pod 2", "pod 3"]
