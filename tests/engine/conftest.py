# SPDX-License-Identifier: Apache-2.0
"""Says how many kills the crash proofs went through."""


def pytest_terminal_summary(terminalreporter):
    """One line with the size of what was enumerated."""
    kills = [
        value
        for reports in terminalreporter.stats.values()
        for report in reports
        if getattr(report, "when", "") == "call"
        for name, value in report.user_properties
        if name == "kills"
    ]
    if kills:
        terminalreporter.write_line(f"crash matrix: {sum(kills)} kills in {len(kills)} proofs, recovered from each")
