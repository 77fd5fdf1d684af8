# SPDX-License-Identifier: Apache-2.0
"""The daemon's asyncio servers, which answer kubelet, Prometheus and hamictl from the engine's state."""
