# SPDX-License-Identifier: Apache-2.0
"""The configuration of hamid: settings, parsing, and the difference between two configurations."""
