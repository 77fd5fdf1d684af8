# SPDX-License-Identifier: Apache-2.0
"""Simulated nodes: the control functions of the simulated driver, and nodes kept on disk."""
