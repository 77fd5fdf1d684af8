/* SPDX-License-Identifier: Apache-2.0 */
#include "node/rules.h"

#include "nvml_abi.h"

static unsigned window(unsigned start, unsigned size)
{
    return ((1u << size) - 1u) << start;
}

struct layout layout_empty(const struct board *board)
{
    return (struct layout){.board = board};
}

void layout_add(struct layout *layout, const struct profile *profile, unsigned start)
{
    layout->occupied |= window(start, profile->size);
    layout->slices += profile->slices;
    layout->engines.decoders += profile->engines.decoders;
    layout->engines.encoders += profile->engines.encoders;
    layout->engines.jpeg += profile->engines.jpeg;
    layout->engines.ofa += profile->engines.ofa;
    layout->counts[profile - layout->board->profiles]++;
}

bool rules_start_exists(const struct profile *profile, unsigned start)
{
    for (unsigned index = 0; index < profile->start_count; index++)
        if (profile->starts[index] == start)
            return true;
    return false;
}

/* Media engines are a budget of the whole GPU: that is why +me excludes +me.all and -me goes with both. */
static bool engines_left(const struct layout *layout, const struct profile *profile)
{
    const struct engines *total = &layout->board->engines, *used = &layout->engines, *more = &profile->engines;
    return !layout->board->engines_known ||
           (used->decoders + more->decoders <= total->decoders && used->encoders + more->encoders <= total->encoders &&
            used->jpeg + more->jpeg <= total->jpeg && used->ofa + more->ofa <= total->ofa);
}

/* Everything but the window. */
static bool budget_left(const struct layout *layout, const struct profile *profile)
{
    return profile->known && layout->slices + profile->slices <= layout->board->compute_slices &&
           layout->counts[profile - layout->board->profiles] < profile->max_instances && engines_left(layout, profile);
}

bool rules_fits(const struct layout *layout, const struct profile *profile, unsigned start)
{
    return rules_start_exists(profile, start) && (layout->occupied & window(start, profile->size)) == 0 &&
           budget_left(layout, profile);
}

static unsigned free_starts(const struct layout *layout, const struct profile *profile)
{
    unsigned count = 0;
    for (unsigned index = 0; index < profile->start_count; index++)
        count += (layout->occupied & window(profile->starts[index], profile->size)) == 0;
    return count;
}

/* The windows of one profile never overlap each other, so taking them one after the other counts them all. */
unsigned rules_remaining(const struct layout *layout, const struct profile *profile)
{
    struct layout trial = *layout;
    unsigned count = 0;
    for (unsigned index = 0; index < profile->start_count; index++)
        if (rules_fits(&trial, profile, profile->starts[index])) {
            layout_add(&trial, profile, profile->starts[index]);
            count++;
        }
    return count;
}

static unsigned creatable_pairs(const struct layout *layout)
{
    unsigned pairs = 0;
    for (unsigned index = 0; index < layout->board->profile_count; index++)
        if (budget_left(layout, &layout->board->profiles[index]))
            pairs += free_starts(layout, &layout->board->profiles[index]);
    return pairs;
}

/* Fitted to every real creation sequence found (reference 2.4): the start after which most (profile, start) pairs
 * can still be created; the lowest of equals. */
int rules_default_start(const struct layout *layout, const struct profile *profile)
{
    int best = NO_START;
    unsigned best_pairs = 0;
    for (unsigned index = 0; index < profile->start_count; index++) {
        if (!rules_fits(layout, profile, profile->starts[index]))
            continue;
        struct layout trial = *layout;
        layout_add(&trial, profile, profile->starts[index]);
        unsigned pairs = creatable_pairs(&trial);
        if (best == NO_START || pairs > best_pairs) {
            best = (int)profile->starts[index];
            best_pairs = pairs;
        }
    }
    return best;
}

/* Full 0, halves 1-2, quarters 3-6, eighths 7-14 (open kernel modules): an instance of 1/f of the axis starts at
 * f - 1. On boards with the swapped map the upper half counts first (reference 1.3). */
unsigned rules_instance_id(const struct board *board, const struct profile *profile, unsigned start, bool swapped)
{
    unsigned axis = board->memory_slices;
    unsigned from = swapped && profile->size < axis ? (start + axis / 2) % axis : start;
    return axis / profile->size - 1 + from / profile->size;
}

const struct compute_profile *rules_compute_profile(const struct profile *profile, unsigned id)
{
    for (unsigned index = 0; index < profile->compute_count; index++)
        if (profile->compute[index].id == id)
            return &profile->compute[index];
    return NULL;
}

void compute_layout_add(struct compute_layout *layout, const struct profile *profile, unsigned id, unsigned start)
{
    const struct compute_profile *compute = rules_compute_profile(profile, id);
    if (compute == NULL)
        return;
    layout->occupied |= window(start, compute->slices);
    layout->counts[compute - profile->compute]++;
}

/* Compute instances lie end to end: multiples of their own size, as many as the profile allows. */
bool rules_compute_fits(const struct compute_layout *layout, const struct profile *profile, unsigned id, unsigned start)
{
    const struct compute_profile *compute = rules_compute_profile(profile, id);
    return compute != NULL && start % compute->slices == 0 && start / compute->slices < compute->max_instances &&
           (layout->occupied & window(start, compute->slices)) == 0 &&
           layout->counts[compute - profile->compute] < compute->max_instances;
}

unsigned rules_compute_remaining(const struct compute_layout *layout, const struct profile *profile, unsigned id)
{
    const struct compute_profile *compute = rules_compute_profile(profile, id);
    unsigned count = 0;
    for (unsigned index = 0; compute != NULL && index < compute->max_instances; index++)
        count += rules_compute_fits(layout, profile, id, index * compute->slices);
    return count;
}

int rules_compute_default_start(const struct compute_layout *layout, const struct profile *profile, unsigned id)
{
    const struct compute_profile *compute = rules_compute_profile(profile, id);
    for (unsigned index = 0; compute != NULL && index < compute->max_instances; index++)
        if (rules_compute_fits(layout, profile, id, index * compute->slices))
            return (int)(index * compute->slices);
    return NO_START;
}

/* A part of a GPU instance has what the board's own instance of that many slices has; the whole has the whole.
 * Never a division: on Hopper 3g has 60 multiprocessors and 1c of it 16, not 20. */
unsigned rules_compute_multiprocessors(const struct board *board, const struct profile *profile, unsigned slices)
{
    static const unsigned enum_of_slices[] = {ABSENT_ID, 0, 1, 2, 3, ABSENT_ID, 6, 4};
    if (slices == profile->slices)
        return profile->multiprocessors;
    if (slices >= sizeof enum_of_slices / sizeof enum_of_slices[0])
        return 0;
    const struct profile *plain = board_profile_by_enum(board, enum_of_slices[slices]);
    return plain != NULL && plain->known ? plain->multiprocessors : 0;
}

/* nvmlDeviceSetMigMode: SUCCESS with a pending mode while clients are on the GPU, a toggle at once when it is idle.
 * Asking for the current mode takes a pending one back. */
struct mode_change rules_mode_change(bool current, bool requested, bool has_instances, bool has_clients)
{
    if (requested == current)
        return (struct mode_change){NVML_SUCCESS, NVML_SUCCESS, current, current};
    if (current && has_instances)
        return (struct mode_change){NVML_ERROR_IN_USE, NVML_ERROR_IN_USE, current, current};
    if (has_clients)
        return (struct mode_change){NVML_SUCCESS, NVML_ERROR_IN_USE, current, requested};
    return (struct mode_change){NVML_SUCCESS, NVML_SUCCESS, requested, requested};
}
