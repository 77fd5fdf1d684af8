/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of MIG geometry, pure: no state, no locks, no handles. Numbers come from the board alone, so axes of
 * 4, 8 and 12 memory slices are the same case. */
#ifndef HAMI_SIM_RULES_H
#define HAMI_SIM_RULES_H

#include "node/board.h"

enum { NO_START = -1 };

/* What the rules need to know of the GPU instances on a board. */
struct layout {
    const struct board *board;
    unsigned occupied;
    unsigned slices;
    struct engines engines;
    unsigned char counts[MAX_PROFILES];
};

struct layout layout_empty(const struct board *board);
void layout_add(struct layout *layout, const struct profile *profile, unsigned start);

/* Whether `start` is one of the profile's possible starts at all. */
bool rules_start_exists(const struct profile *profile, unsigned start);

/* Whether one more instance of `profile` could be created, at `start`: memory, compute, count and engines. */
bool rules_fits(const struct layout *layout, const struct profile *profile, unsigned start);

/* How many more instances of `profile` could be created if nothing else was. */
unsigned rules_remaining(const struct layout *layout, const struct profile *profile);

/* Where the driver puts an instance when the caller does not say; NO_START if it fits nowhere. */
int rules_default_start(const struct layout *layout, const struct profile *profile);

/* The id of the GPU instance in a window; `swapped` is the map of boards whose halves are exchanged. */
unsigned rules_instance_id(const struct board *board, const struct profile *profile, unsigned start, bool swapped);

/* The same questions inside a GPU instance, on its axis of compute slices. */
struct compute_layout {
    unsigned occupied;
    unsigned counts[MAX_COMPUTE_PROFILES];
};

const struct compute_profile *rules_compute_profile(const struct profile *profile, unsigned id);
void compute_layout_add(struct compute_layout *layout, const struct profile *profile, unsigned id, unsigned start);
bool rules_compute_fits(const struct compute_layout *layout, const struct profile *profile, unsigned id,
                        unsigned start);
unsigned rules_compute_remaining(const struct compute_layout *layout, const struct profile *profile, unsigned id);
int rules_compute_default_start(const struct compute_layout *layout, const struct profile *profile, unsigned id);

/* Multiprocessors of a compute instance of `slices` in a GPU instance of `profile`; 0 if the data does not say. */
unsigned rules_compute_multiprocessors(const struct board *board, const struct profile *profile, unsigned slices);

/* What a mode request does, given who is on the GPU. */
struct mode_change {
    int result, activation;
    bool current, pending;
};
struct mode_change rules_mode_change(bool current, bool requested, bool has_instances, bool has_clients);

#endif
