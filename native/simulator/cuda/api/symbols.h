/* SPDX-License-Identifier: Apache-2.0 */
/* The table of the driver's functions, made from names.txt. */
#ifndef HAMI_CUDA_SYMBOLS_H
#define HAMI_CUDA_SYMBOLS_H

/* A version of the ABI of a function: the first CUDA version that has it. Sorted by name, then plain before per-thread,
 * then version. */
struct symbol {
    const char *name;
    int version;
    int is_per_thread;
    void *function;
};

extern const struct symbol symbol_table[];
extern const unsigned symbol_count;

/* What functions answer that the driver only knows by name. */
int symbol_unsupported(const char *name);

#endif
