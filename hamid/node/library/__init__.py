# SPDX-License-Identifier: Apache-2.0
"""The libvgpu files on disk: the store, its lock, its users, and shared regions."""
