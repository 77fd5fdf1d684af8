# SPDX-License-Identifier: Apache-2.0
"""A small model of MIG's placement rules, written from the reference and the data alone, without the C code."""

NUMBERS = ("memory_mib", "multiprocessors", "copy_engines", "decoders", "encoders", "jpeg", "ofa")
MEDIA = ("decoders", "encoders", "jpeg", "ofa")


class Model:
    """One GPU in MIG mode: which profile sits at which start."""

    def __init__(self, board):
        self.board = board
        self.live: dict[int, tuple[int, int]] = {}  # GI id -> (profile id, start)
        rows = [row for row in self.board["profiles"] if all(row.get(name) is not None for name in NUMBERS)]
        self.rows = {row["profile_id"]: row for row in rows}
        axis = self.board["memory_slices"]
        whole = [row for row in rows if row["placements"][0]["size"] == axis]
        self.media = {name: whole[0][name] for name in MEDIA} if whole else None

    def starts(self, profile_id):
        """Every start of a profile."""
        return [place["start"] for place in self.rows[profile_id]["placements"]]

    def size(self, profile_id):
        """Memory slices of a profile."""
        return self.rows[profile_id]["placements"][0]["size"]

    def fits(self, live, profile_id, start):
        """Whether an instance could be added to those that live."""
        row = self.rows[profile_id]
        wanted = range(start, start + self.size(profile_id))
        for other, at in live:
            if set(wanted) & set(range(at, at + self.size(other))):
                return False
        others = [self.rows[other] for other, _ in live]
        if sum(other["slices"] for other in others) + row["slices"] > self.board["compute_slices"]:
            return False
        if sum(other is row for other in others) >= row["max_instances"]:
            return False
        if self.media is None:
            return True
        return all(sum(other[name] for other in others) + row[name] <= self.media[name] for name in MEDIA)

    def room(self, profile_id):
        """How many more of one profile could be created, by trying."""
        live, count = list(self.live.values()), 0
        for start in self.starts(profile_id):
            if self.fits(live, profile_id, start):
                live.append((profile_id, start))
                count += 1
        return count

    def worth(self, live):
        """How many (profile, start) pairs remain."""
        return sum(self.fits(live, profile_id, start) for profile_id in self.rows for start in self.starts(profile_id))

    def choice(self, profile_id):
        """The driver's start, or None."""
        live = list(self.live.values())
        possible = [start for start in self.starts(profile_id) if self.fits(live, profile_id, start)]
        return max(possible, key=lambda start: (self.worth([*live, (profile_id, start)]), -start), default=None)

    def identity(self, profile_id, start):
        """The GI id of a window."""
        fraction = self.board["memory_slices"] // self.size(profile_id)
        return fraction - 1 + start // self.size(profile_id)
