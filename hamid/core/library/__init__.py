# SPDX-License-Identifier: Apache-2.0
"""The libvgpu library files: what is installed, what to change, and who uses them."""
