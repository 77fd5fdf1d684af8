# SPDX-License-Identifier: Apache-2.0
"""Floor 2: the verbs, as plain synchronous functions over the node's ports and the core's values."""
