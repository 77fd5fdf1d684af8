# SPDX-License-Identifier: Apache-2.0
"""hamictl version: the versions of this program and of the driver."""

from importlib.metadata import version as distribution_version

import typer

from hamictl.options import verb
from hamictl.session import Session
from hamid.core.documents.envelope import version_document
from hamid.core.errors import HamiError

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@verb(app, "version")
def show_version(session: Session) -> None:
    """Show the versions of hamictl and of the driver.

    \b
    Examples:
      hamictl version
      hamictl version -o json
    """
    driver, nvml = _driver_versions(session)
    fields = {"version": distribution_version("hami-node"), "driverVersion": driver, "nvmlVersion": nvml}

    session.emit(version_document(fields), lambda: f"hamictl {fields['version']}\ndriver  {driver or 'none'}\n")


def _driver_versions(session: Session) -> tuple[str | None, str | None]:
    try:
        snapshot = session.snapshot()
    except HamiError:
        # A machine without a driver must still get hamictl's version; None means that the driver's is unknown.
        if session.sim is not None:
            raise
        return None, None
    return snapshot.driver_version, snapshot.nvml_version
