# SPDX-License-Identifier: Apache-2.0
"""The device plugin that kubelet talks to."""
