# SPDX-License-Identifier: Apache-2.0
"""The operating system: boot id, cgroups, processes, logs, systemd."""
