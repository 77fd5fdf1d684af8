# SPDX-License-Identifier: Apache-2.0
"""Which tests may be skipped: where the variable CI is set, a skip for any other reason is a failure."""

import os
import re

import pytest

# Reason of a skip (a pattern for the whole of it) -> why the test cannot run there.
ALLOWED = {
    "pools outlive a context": "a combination that the driver does not have",
    "this build carries a library": "what a build without libvgpu says; every build of ours carries it",
    "runs within this process, which is root; .*": "test_faults has the same proof with a process of its own",
    "this machine has an NVIDIA driver": "what hamictl says where there is none",
    # A container that runs CI may withhold rights of root.
    "needs CAP_MKNOD": "the container may make no device nodes",
    "device nodes (may not|cannot) be made .*here": "the container may make or open no device nodes",
    "namespaces, overlays or cgroups are not allowed here": "the container may start no systemd",
    "pid namespaces cannot be made here": "the container may make no namespaces",
    "mounting is not allowed here": "the container may mount nothing",
    "tracing is not allowed here": "the container may trace no process",
}


def is_allowed(reason: str) -> bool:
    """Whether a test may be skipped for this reason."""
    return any(re.fullmatch(pattern, reason) for pattern in ALLOWED)


def _refuse(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turns a skip for a reason that is not allowed into a failure, in CI."""
    if not os.environ.get("CI") or not report.skipped or hasattr(report, "wasxfail"):
        return
    file, line, text = report.longrepr if isinstance(report.longrepr, tuple) else ("", 0, str(report.longrepr))
    reason = text.removeprefix("Skipped: ")
    if not is_allowed(reason):
        report.outcome = "failed"
        report.longrepr = f"{file}:{line}: unexpected skip in CI (see {__name__}): {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    report = yield
    _refuse(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    report = yield
    _refuse(report)
    return report
