# SPDX-License-Identifier: Apache-2.0
"""Helpers for tests, shipped so that people who build on this package can test with the same means."""
