# SPDX-License-Identifier: Apache-2.0
"""Floor 1: the outside world; one module hides one outside thing."""
