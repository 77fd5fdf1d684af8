# SPDX-License-Identifier: Apache-2.0
"""Kubelet: its gRPC APIs, its checkpoint, and where the list of pods comes from."""
