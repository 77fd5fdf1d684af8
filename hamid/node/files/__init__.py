# SPDX-License-Identifier: Apache-2.0
"""Reading, replacing and removing files safely."""
