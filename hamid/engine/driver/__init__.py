# SPDX-License-Identifier: Apache-2.0
"""Driver sessions, one worker per GPU, and the published view of the node."""
