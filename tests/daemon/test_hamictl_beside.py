# SPDX-License-Identifier: Apache-2.0
"""hamictl beside a running hamid: it reads freely, and changes nothing."""

import json

import jsonschema
from support import REPOSITORY
from support.waiting import until

SCHEMA = REPOSITORY / "docs" / "json" / "ClaimList.schema.json"


def test_claims_are_shown_with_their_pods_and_changes_are_refused_with_hamids_pid(hamid, hamictl):
    """A pod's claim is listed and shown by name, pod and uid, as its schema promises; a change is refused (7)."""
    node = hamid().start()
    node.kubelet.wait_for(20)
    uid = node.add("job", memory=8000)
    until(lambda: all(claim.owner.confirmed for claim in node.facts().claims))
    sim = ("--sim", node.state)
    document = hamictl.document(*sim, "alloc", "list")
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    (claim,) = document["claims"]
    assert claim["standing"] == "confirmed"
    assert claim["pod"] == {"uid": uid, "namespace": "default", "name": "job", "container": "main"}
    assert [(each["migUUID"], each["profile"]) for each in claim["instances"]] == [(node.uuids(uid)[0], "2g.10gb")]
    for name in (claim["name"], uid, "default/job", "default/job/main"):
        shown = hamictl.run(*sim, "alloc", "show", name)
        assert shown.exit_code == 0
        assert node.uuids(uid)[0] in shown.stdout
    unknown = hamictl.run(*sim, "alloc", "show", "nobody")
    assert unknown.exit_code == 2
    assert claim["name"] in unknown.stderr
    table = hamictl.run(*sim, "alloc", "list", "-o", "wide").stdout
    assert "default/job/main" in table
    assert "2g.10gb@" in table
    changed = hamictl.run(*sim, "mig", "apply", "--mem", "5000", "--yes")
    assert changed.exit_code == 7
    assert f"process {node.process.pid}" in changed.stderr


def test_operators_claims_and_an_empty_ledger_are_shown_too(hamid, hamictl):
    """Without hamid: nothing to show at first, then the operator's claim, as its schema promises."""
    node = hamid("1xA30", kubelet=False)
    sim = ("--sim", node.state)
    assert hamictl.document(*sim, "alloc", "list")["claims"] == []
    assert hamictl.run(*sim, "mig", "apply", "--mem", "5000", "--name", "training", "--yes").exit_code == 0
    document = hamictl.document(*sim, "alloc", "show", "training")
    jsonschema.validate(document, json.loads(SCHEMA.read_text()))
    assert document["claims"][0]["standing"] == "operator"
    assert document["simulated"] is True
    assert "an operator" in hamictl.run(*sim, "alloc", "list").stdout
