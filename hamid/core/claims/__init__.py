# SPDX-License-Identifier: Apache-2.0
"""Claims: what containers request, what they are granted, and when it is released."""
