# SPDX-License-Identifier: Apache-2.0
"""Rendering of values: tables for people, documents for programs. No I/O."""
