# SPDX-License-Identifier: Apache-2.0
"""From values to text: tables for people, documents for programs. Pure."""
