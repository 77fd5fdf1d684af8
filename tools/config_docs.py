# SPDX-License-Identifier: Apache-2.0
"""Writes the table of docs/config.md anew from the settings; run by hand after a change of hamid/core/settings.py."""

from pathlib import Path

from hamid.core.config_document import settings_page

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
MARK = "<!-- made by tools/config_docs.py -->\n"

head, _, _ = PAGE.read_text().partition(MARK)
PAGE.write_text(head + MARK + settings_page())
