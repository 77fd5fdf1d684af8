# SPDX-License-Identifier: Apache-2.0
"""One file a noun; each holds that noun's commands and nothing else."""
