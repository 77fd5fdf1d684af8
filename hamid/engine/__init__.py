# SPDX-License-Identifier: Apache-2.0
"""hamid's operations, as synchronous functions over the node's ports and core's values."""
