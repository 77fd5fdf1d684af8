# SPDX-License-Identifier: Apache-2.0
"""Policy template over every set of occupied placements and every memory request of a template entry."""

from functools import cache

import pytest
from msgspec.structs import replace
from support.narrow import present
from support.placement_model import Model

from hamid.core.hardware.gpu import Instance
from hamid.core.hardware.profile import Placement
from hamid.core.hardware.snapshot import Snapshot
from hamid.core.planner.decide import decide
from hamid.core.planner.plan import Plan
from hamid.core.planner.request import MemoryMatch, Policy, make_request
from hamid.core.units import parse_memory
from hamid.node.config.files import builtin_templates
from hamid.testing.boards import board_data, gpu_of, known_boards

TABLE = builtin_templates()
# One board of each geometry; the others have the geometry of one of these.
FAST = ["A30-24GB", "A100-40GB", "B200-180GB", "RTX-PRO-6000-Blackwell-96GB"]
BOARDS = [board for board in known_boards() if TABLE.lookup(gpu_of(board).name) is not None]


class Rules:
    """Legal sets of (profile id, start) on a board, by the placement model, which shares no code with the planner."""

    def __init__(self, board):
        self.model = Model(board_data()[board])
        self.rest_fits = cache(self._rest_fits)

    def occupied(self, profiles):
        """Every legal set of instances of these profiles."""
        seats = [(profile, start) for profile in profiles for start in self.model.starts(profile)]
        found = {frozenset[tuple[int, int]]()}
        for profile, start in seats:
            found |= {live | {(profile, start)} for live in found if self.model.fits(live, profile, start)}
        return sorted(found, key=lambda live: (len(live), sorted(live)))

    def _rest_fits(self, live, rest):
        """Whether all these profiles can still be created beside what lives."""
        if not rest:
            return True
        first, *others = rest
        return any(
            self.model.fits(live, first, start) and self.rest_fits(live | {(first, start)}, tuple(others))
            for start in self.model.starts(first)
        )


def with_instances(gpu, live):
    """The GPU with a used instance on each of these seats."""
    profiles = {profile.profile_id: profile for profile in gpu.profiles}
    size = {each: profile.placements[0].size for each, profile in profiles.items()}
    instances = tuple(
        Instance(
            profile=profiles[profile].name,
            profile_id=profile,
            memory_mib=profiles[profile].memory_mib,
            placement=Placement(start=start, size=size[profile]),
            gi_id=number,
            mig_uuid=f"MIG-{number}",
            used=True,
        )
        for number, (profile, start) in enumerate(sorted(live))
    )
    return replace(gpu, instances=instances)


def requests_of(entry):
    """A request for the memory of each slot of the entry's templates, for one MiB less, and for one more."""
    sizes = {slot.memory_mib for template in entry.templates for slot in template.slots}
    return sorted({size + step for size in sizes for step in (-1, 0, 1)})


def remaining(template, live, granted, ids):
    """The profile ids of the template's slots that are neither used nor granted; None when it does not hold them."""
    rest = [ids[name] for name, count in template.geometry.items() for _ in range(count)]
    for profile, _ in [*live, *granted]:
        if profile not in rest:
            return None
        rest.remove(profile)
    return tuple(sorted(rest))


def check_board(board):
    """Every grant keeps the rest of its template creatable, and a refusal comes only when no template holds it."""
    gpu, rules = gpu_of(board), Rules(board)
    entry = present(TABLE.lookup(gpu.name))
    ids = {profile.name: profile.profile_id for profile in gpu.profiles}
    used = {ids[name] for template in entry.templates for name in template.geometry if name in ids}
    cases = 0
    for live in rules.occupied(sorted(used)):
        node = Snapshot(gpus=(with_instances(gpu, live),))
        for memory in requests_of(entry):
            request = make_request(
                count=1, memory=parse_memory(str(memory)), policy=Policy.TEMPLATE, memory_match=MemoryMatch.TEMPLATE
            )
            outcome = decide(request, node, TABLE)
            check(outcome, entry, live, memory, ids, rules)
            cases += 1
    return cases


def check(outcome, entry, live, memory, ids, rules):
    """One outcome against the model: the first template that holds the request, and a rest that can be created."""
    possible = [each for each in entry.templates if holds(each, live, memory, ids, rules)]
    where = (sorted(live), memory)
    if not isinstance(outcome, Plan):
        assert possible == [], where
        return
    granted = [
        (ids[each.profile], each.placement.start) for gpu in outcome.gpus for each in gpu.instances if each.serves
    ]
    assert possible, where
    rest = remaining(possible[0], live, granted, ids)
    assert rest is not None, where
    assert rules.rest_fits(live | set(granted), rest), where


def holds(template, live, memory, ids, rules):
    """Whether a slot of the template that is large enough is free and can be created with the rest beside it."""
    if any(name not in ids for name in template.geometry):
        return False
    rest = remaining(template, live, (), ids)
    if rest is None or not rules.rest_fits(live, rest):
        return False
    large = {ids[slot.name] for slot in template.slots if slot.memory_mib >= memory}
    return any(each in large for each in rest)


@pytest.mark.parametrize("board", FAST)
def test_a_grant_keeps_the_rest_of_its_template_creatable(board):
    """A placement is chosen only if the template's other slots still fit beside it, for each occupied set."""
    assert check_board(board) > 100


@pytest.mark.full
@pytest.mark.parametrize("board", [board for board in BOARDS if board not in FAST])
def test_a_grant_keeps_the_rest_of_its_template_creatable_on_every_board(board):
    """The same on every board whose profiles are known."""
    assert check_board(board) > 0
