# SPDX-License-Identifier: Apache-2.0
"""From a Request and a Snapshot to a Plan, a list of steps, or to a Refusal that says why."""
