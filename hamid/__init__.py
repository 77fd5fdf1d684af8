# SPDX-License-Identifier: Apache-2.0
"""The node toolkit for shared GPUs: one daemon and the engine that it shares with hamictl."""
