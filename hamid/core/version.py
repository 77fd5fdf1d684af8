# SPDX-License-Identifier: Apache-2.0
"""The version of the documents that hamictl and hamid write."""

API_VERSION = "hami.io/v1"
