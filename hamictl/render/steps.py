# SPDX-License-Identifier: Apache-2.0
"""Steps in words."""

from hamid.core.planner.steps import CreateInstance, DestroyInstance, SetMigMode, Step


def step_text(step: Step) -> str:
    """One step in words."""
    match step:
        case SetMigMode():
            return f"GPU {step.gpu_index}: switch MIG mode {'on' if step.enabled else 'off'}"
        case DestroyInstance():
            return f"GPU {step.gpu_index}: destroy {step.profile} at {step.placement} ({step.mig_uuid or 'no device'})"
        case CreateInstance():
            return f"GPU {step.gpu_index}: create {step.profile} at {step.placement}"
