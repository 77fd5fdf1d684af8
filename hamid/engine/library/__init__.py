# SPDX-License-Identifier: Apache-2.0
"""Operations on the libvgpu files: synchronize, verify, collect garbage, self-test."""
