# SPDX-License-Identifier: Apache-2.0
"""Write the table of docs/config.md from the settings.

Run it by hand after a change of hamid/core/config/settings.py.
"""

from pathlib import Path

from hamid.core.documents.config import settings_page

PAGE = Path(__file__).parents[1] / "docs" / "config.md"
MARK = "<!-- made by tools/config_docs.py -->\n"

head, _, _ = PAGE.read_text().partition(MARK)
PAGE.write_text(head + MARK + settings_page())
