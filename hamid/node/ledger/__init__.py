# SPDX-License-Identifier: Apache-2.0
"""The ledger: claims, instances and the step journal in one SQLite file."""
