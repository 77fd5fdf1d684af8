/* SPDX-License-Identifier: Apache-2.0 */
/* The lower half of libvgpu under sanitizers: the environment's parser against any text, the table against a list, the
 * region against any file, threads against each other. `lower SEED ROUNDS FILE`. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "memory/accounting.h"
#include "memory/allocations.h"
#include "region/attach.h"
#include "region/environment.h"

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #condition);                                            \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

static uint64_t state;

static unsigned any(unsigned bound)
{
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    return (unsigned)(state >> 33) % bound;
}

static char text[5000];

static const char *look_up(const char *name)
{
    return any(3) == 0 || name[0] == '\0' ? NULL : text;
}

static void make_text(void)
{
    static const char letters[] = "0123456789.xkmgtib -+eE_,=\nCUDA\xff";
    unsigned size = any(4) == 0 ? any(sizeof text - 1) : any(24);
    for (unsigned i = 0; i < size; i++)
        text[i] = any(20) == 0 ? (char)(1 + any(255)) : letters[any(sizeof letters - 1)];
    text[size] = '\0';
}

static void parse_anything(void)
{
    static struct vgpu_environment found;
    uint64_t bytes;
    make_text();
    if (vgpu_parse_size(text, &bytes))
        CHECK(bytes <= (uint64_t)1 << 63 && strpbrk(text, "-+") == NULL);
    vgpu_environment_read(&found, look_up, any(2) != 0 ? text : NULL);
    for (int device = 0; device < VGPU_DEVICES; device++) {
        CHECK(found.sm_limit[device] >= 1 && found.sm_limit[device] <= 100);
        CHECK((found.malformed >> device & 1) == 0 || found.memory_limit[device] == VGPU_MALFORMED_LIMIT);
    }
}

static void parse_known(void)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"1.5g", 1536ull << 20},
                 {"100mb", 100ull << 20},
                 {"0x10m", 16ull << 20},
                 {"2GiB", 2ull << 30},
                 {"4096", 4096},
                 {" 8k ", 8192},
                 {"0m", 0},
                 {"1t", 1ull << 40},
                 {"0.5m", 512 << 10}};
    static const char *const nothing[] = {
        "-1",  "abc", "",   "1.g",           "1gg", "1e3",     "9223372036854775809", "20000000000g", "0x",
        "1 2", "m",   "+5", "1.0000000001g", "1pb", "\xc2\xb5"};
    uint64_t bytes;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        CHECK(vgpu_parse_size(sizes[i].text, &bytes) && bytes == sizes[i].bytes);
    for (size_t i = 0; i < sizeof nothing / sizeof *nothing; i++)
        CHECK(!vgpu_parse_size(nothing[i], &bytes));
}

#define KEYS 3000
static uint64_t held[KEYS];

static void use_table(void)
{
    struct allocation entry, other;
    unsigned key = any(KEYS);
    uint64_t bytes = 1 + any(1000);
    bool there = held[key] != 0;
    switch (any(3)) {
    case 0:
        entry = (struct allocation){.bytes = bytes, .context = key % 7, .references = 1};
        CHECK(allocations_put(SPACE_POINTER, key * 512ull, entry, &other) && other.bytes == held[key]);
        held[key] = bytes;
        break;
    case 1:
        CHECK(allocations_take(SPACE_POINTER, key * 512ull, &entry) == there && (!there || entry.bytes == held[key]));
        held[key] = 0;
        break;
    default:
        CHECK(allocations_get(SPACE_POINTER, key * 512ull, &entry) == there && (!there || entry.bytes == held[key]));
    }
}

static uint64_t ended;

static void count_ended(const struct allocation *entry)
{
    ended += entry->bytes;
}

static void end_contexts(void)
{
    uint64_t expected = 0;
    for (unsigned key = 0; key < KEYS; key++)
        if (key % 7 == 3)
            expected += held[key], held[key] = 0;
    ended = 0;
    allocations_end_context(3, count_ended);
    CHECK(ended == expected);
}

static void *account(void *unused)
{
    (void)unused;
    struct allocation entry = {.bytes = 1, .references = 1}, other;
    for (uint64_t i = 0; i < 3000; i++) {
        uint64_t key = (uint64_t)(uintptr_t)&entry + i;
        if (accounting_reserve(0, 512)) {
            CHECK(allocations_put(SPACE_ARRAY, key, entry, &other));
            CHECK(allocations_take(SPACE_ARRAY, key, &other));
            accounting_release(0, 512);
        }
        (void)accounting_used(0);
    }
    return NULL;
}

int main(int count, char **words)
{
    CHECK(count == 4);
    state = strtoull(words[1], NULL, 10) * 2 + 1;
    setenv("CUDA_DEVICE_MEMORY_LIMIT", "1m", 1);
    setenv("CUDA_DEVICE_MEMORY_SHARED_CACHE", words[3], 1);
    parse_known();
    for (long round = strtol(words[2], NULL, 10); round > 0; round--) {
        parse_anything();
        use_table();
    }
    end_contexts();
    /* For any content of the file: figures, never a crash; our own figures add up. */
    uint64_t before = accounting_used(0);
    bool taken = accounting_reserve(0, 4096);
    CHECK(!taken || accounting_used(0) - before == 4096 || before > UINT64_MAX / 4);
    if (taken)
        accounting_release(0, 4096);
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&threads[i], NULL, account, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    return 0;
}
