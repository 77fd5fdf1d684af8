# SPDX-License-Identifier: Apache-2.0
"""Applying the steps of a plan, and recovering after a crash."""
