# SPDX-License-Identifier: Apache-2.0
"""Kubelet's gRPC messages and services; the .proto files here are the source, `sh tools/kubelet_api.sh` generates."""
