# SPDX-License-Identifier: Apache-2.0
"""GPUs as values: profiles, placements, geometries, instances, health and the snapshot of a node."""
