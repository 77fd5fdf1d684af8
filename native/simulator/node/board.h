/* SPDX-License-Identifier: Apache-2.0 */
/* What a board is: constant data, generated from hamid/data/mig-profiles.json. */
#ifndef HAMI_SIM_BOARD_H
#define HAMI_SIM_BOARD_H

#include <stdbool.h>
#include <stddef.h>

enum { MAX_STARTS = 8, MAX_COMPUTE_PROFILES = 8, MAX_PROFILES = 16, ABSENT_ID = 0xFFFFFFFF };

enum architecture { ARCHITECTURE_AMPERE, ARCHITECTURE_HOPPER, ARCHITECTURE_BLACKWELL, ARCHITECTURE_BLACKWELL_GB202 };

struct engines {
    unsigned decoders, encoders, jpeg, ofa;
};

struct compute_profile {
    unsigned id, slices, max_instances;
};

/* A GPU instance profile. Where `known` is false a number is missing in the data and nothing is answered. */
struct profile {
    const char *name;
    bool known;
    unsigned nvml_enum, id, slices, memory_mib, multiprocessors, copy_engines;
    struct engines engines;
    unsigned max_instances;
    bool peer_to_peer, graphics;
    unsigned size, start_count, starts[MAX_STARTS];
    unsigned compute_count;
    struct compute_profile compute[MAX_COMPUTE_PROFILES];
};

/* One product on a board; name NULL and memory 0 mean unknown. */
struct variant {
    const char *name;
    unsigned pci_device_id, memory_mib;
};

struct board {
    const char *key;
    enum architecture architecture;
    unsigned memory_slices, compute_slices;
    bool engines_known;
    struct engines engines;
    const struct profile *profiles;
    unsigned profile_count;
    const struct variant *variants;
    unsigned variant_count;
};

struct board_choice {
    unsigned board, variant;
};

extern const struct board board_table[];
extern const unsigned board_count;
extern const unsigned board_fingerprint;

/* Finds the product that `name` means; false and a text with the choices if there is none or more than one. */
bool board_find(const char *name, struct board_choice *choice, char *message, size_t size);

/* Writes one line `KEY<tab>NAME` a product; returns the bytes that the whole text needs, its NUL included. */
size_t board_list(char *buffer, size_t size);

/* NULL if the board has no such profile. */
const struct profile *board_profile_by_enum(const struct board *board, unsigned nvml_enum);
const struct profile *board_profile_by_id(const struct board *board, unsigned id);

/* Whether any board at all knows this profile id: tells "not supported here" from "no such id". */
bool board_any_profile_id(unsigned id);

#endif
