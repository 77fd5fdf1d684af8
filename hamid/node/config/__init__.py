# SPDX-License-Identifier: Apache-2.0
"""Configuration files on disk."""
