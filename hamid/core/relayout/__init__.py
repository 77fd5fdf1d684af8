# SPDX-License-Identifier: Apache-2.0
"""Changing the layout of GPUs: the target layouts, the safe order of steps, and saved plans."""
