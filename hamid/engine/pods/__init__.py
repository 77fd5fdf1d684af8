# SPDX-License-Identifier: Apache-2.0
"""Pods from Allocate to release: allocation, starts, reconciliation, adoption."""
