# SPDX-License-Identifier: Apache-2.0
"""Floor 0: values and decisions. No input, no output, no clock: everything here is a function of its arguments."""
