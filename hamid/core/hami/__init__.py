# SPDX-License-Identifier: Apache-2.0
"""Pure codecs of HAMi's formats: what its configuration, annotations and registers say, as core values."""
