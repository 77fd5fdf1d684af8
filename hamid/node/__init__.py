# SPDX-License-Identifier: Apache-2.0
"""Access to the outside world; each module hides one outside thing."""
