# SPDX-License-Identifier: Apache-2.0
from typing import Annotated

from msgspec import Struct

from hamid.core.config.setting import Setting, TakesEffect, TextForm, settings_of


class Described(Struct, frozen=True, kw_only=True):
    """A struct with every kind of field."""

    number: Annotated[int, Setting("A number", low=1, high=5, hami="hamiNumber")] = 3
    folder: Annotated[str, Setting("A folder", change=TakesEffect.RESTART, form=TextForm.PATH)] = "/d"
    names: Annotated[dict[str, int], Setting("Names")] = {}
    plain: int = 7
    other: Annotated[int, "no setting"] = 8


def test_a_setting_knows_its_fields_name_type_and_default():
    """What the annotation says is completed by the field; a field without a Setting is none."""
    number, folder, names = settings_of(Described)
    assert number == Setting("A number", low=1, high=5, hami="hamiNumber", name="number", kind=int, default=3)
    assert folder == Setting(
        "A folder", change=TakesEffect.RESTART, form=TextForm.PATH, name="folder", kind=str, default="/d"
    )
    assert names == Setting("Names", name="names", kind=dict[str, int], default={})
