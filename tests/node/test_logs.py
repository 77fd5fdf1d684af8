# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys

import pytest
from support.narrow import present

PROGRAM = """
import logging, os, sys
from hamid.core.config.config import LogForm
from hamid.node.system import logs
environment = dict(os.environ)
if sys.argv[1] == "journal-by-stream":
    status = os.fstat(2)
    environment["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
form = LogForm(sys.argv[1]) if sys.argv[1] in set(LogForm) else LogForm.AUTO
log = logs.setup(form, "info", environment)
log.debug("unseen")
log.info("claim_made", claim="ns/pod a/c", gpu="GPU-1", instance="", pod=None)
log.warning("strange", text="one\\ntwo\\n<3>forged")
try:
    raise ValueError("line\\nbreak")
except ValueError:
    log.exception("call_failed")
logging.getLogger("grpc").error("from a %s", "library")
logs.set_level("error")
log.warning("unseen")
logs.set_level("debug")
log.debug("seen", devices=["a"])
"""


def run(form):
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, timeout=30, check=True
    )
    return result.stderr.splitlines()


@pytest.mark.parametrize("form", ["journal", "journal-by-stream"])
def test_the_journal_gets_a_priority_and_one_line(form):
    """Each event is one line that begins with its priority; a value with line breaks forges no second one."""
    lines = run(form)
    assert [line[:3] for line in lines] == ["<6>", "<4>", "<3>", "<3>", "<7>"]
    assert lines[0] == '<6>claim_made claim="ns/pod a/c" gpu=GPU-1'
    assert r"one\ntwo" in lines[1]
    assert "ValueError" in lines[2]
    assert "Traceback" in lines[2]
    assert "from a library" in lines[3]


@pytest.mark.parametrize("form", ["json", "auto"])
def test_json_is_one_document_a_line(form):
    """With --log-format json, and by itself where stderr is a pipe, each line is one JSON object with the fields."""
    documents = [json.loads(line) for line in run(form)]
    assert [each["event"] for each in documents] == ["claim_made", "strange", "call_failed", "library", "seen"]
    assert documents[0]["claim"] == "ns/pod a/c"
    assert documents[0].keys() == {"event", "level", "claim", "gpu", "timestamp"}
    assert documents[2]["exception"][0]["exc_type"] == "ValueError"


def test_a_reader_that_left_harms_nobody():
    """With stderr closed at the other end the program runs to its end."""
    with subprocess.Popen([sys.executable, "-c", PROGRAM, "json"], stderr=subprocess.PIPE) as process:
        present(process.stderr).close()
        assert process.wait(30) == 0
