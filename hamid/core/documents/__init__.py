# SPDX-License-Identifier: Apache-2.0
"""JSON documents that hamictl prints."""
