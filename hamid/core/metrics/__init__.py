# SPDX-License-Identifier: Apache-2.0
"""Metric samples from snapshots, as values."""
