# SPDX-License-Identifier: Apache-2.0
"""The NVIDIA driver: NVML calls, events, device nodes and their holders."""
