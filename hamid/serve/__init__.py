# SPDX-License-Identifier: Apache-2.0
"""The mouths of the daemon: asyncio servers that answer kubelet, Prometheus and hamictl from what the engine knows."""
