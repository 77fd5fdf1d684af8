# SPDX-License-Identifier: Apache-2.0
"""Pods as the Kubernetes API, kubelet and pod-resources describe them."""
