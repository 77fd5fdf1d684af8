/* SPDX-License-Identifier: Apache-2.0 */
#include "node/board.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Space, hyphen and underscore are one character in names, and case does not matter. */
static char folded(char character)
{
    return character == ' ' || character == '_' ? '-' : (char)tolower((unsigned char)character);
}

static const char *without_vendor(const char *name)
{
    static const char vendor[] = "nvidia-";
    for (size_t index = 0; index < sizeof vendor - 1; index++)
        if (folded(name[index]) != vendor[index])
            return name;
    return name + sizeof vendor - 1;
}

/* Length of `prefix` if it is a whole-token prefix of `name`, else 0. */
static size_t token_prefix(const char *prefix, const char *name)
{
    size_t index = 0;
    for (; prefix[index] != '\0'; index++)
        if (name[index] == '\0' || folded(prefix[index]) != folded(name[index]))
            return 0;
    return name[index] == '\0' || folded(name[index]) == '-' ? index : 0;
}

static bool same_name(const char *left, const char *right)
{
    size_t length = token_prefix(left, right);
    return length != 0 && right[length] == '\0';
}

typedef bool (*matcher)(const char *wanted, const struct board *board, const struct variant *variant);

static bool matches_key(const char *wanted, const struct board *board, const struct variant *variant)
{
    return variant == board->variants && strcmp(wanted, board->key) == 0;
}

static bool matches_name(const char *wanted, const struct board *board, const struct variant *variant)
{
    (void)board;
    return variant->name != NULL && same_name(wanted, without_vendor(variant->name));
}

static bool matches_loose_key(const char *wanted, const struct board *board, const struct variant *variant)
{
    return variant == board->variants && same_name(wanted, board->key);
}

static bool matches_prefix(const char *wanted, const struct board *board, const struct variant *variant)
{
    (void)board;
    return variant->name != NULL && token_prefix(wanted, without_vendor(variant->name)) != 0;
}

static void append(char *buffer, size_t size, size_t *used, const char *text)
{
    size_t length = strlen(text);
    if (size != 0 && *used < size) {
        size_t room = size - *used - 1;
        memcpy(buffer + *used, text, length < room ? length : room);
        buffer[*used + (length < room ? length : room)] = '\0';
    }
    *used += length;
}

static const char *choice_name(const struct board *board, const struct variant *variant)
{
    return variant->name != NULL ? without_vendor(variant->name) : board->key;
}

/* Appends the products that match (all with matcher NULL); returns how many. */
static unsigned list_matches(matcher match, const char *wanted, char *buffer, size_t size, size_t *used)
{
    unsigned found = 0;
    for (unsigned index = 0; index < board_count; index++) {
        const struct board *board = &board_table[index];
        for (unsigned row = 0; row < board->variant_count; row++) {
            if (match != NULL && !match(wanted, board, &board->variants[row]))
                continue;
            append(buffer, size, used, found++ == 0 ? "" : ", ");
            append(buffer, size, used, choice_name(board, &board->variants[row]));
        }
    }
    return found;
}

static unsigned count_matches(matcher match, const char *wanted, struct board_choice *choice)
{
    unsigned found = 0;
    for (unsigned index = 0; index < board_count; index++)
        for (unsigned row = 0; row < board_table[index].variant_count; row++)
            if (match(wanted, &board_table[index], &board_table[index].variants[row])) {
                if (found == 0)
                    *choice = (struct board_choice){index, row};
                found++;
            }
    return found;
}

static void complain(const char *name, matcher match, char *message, size_t size)
{
    size_t used = 0;
    append(message, size, &used, match != NULL ? "board '" : "unknown board '");
    append(message, size, &used, name);
    append(message, size, &used, match != NULL ? "' is ambiguous, it could be: " : "', the choices are: ");
    list_matches(match, without_vendor(name), message, size, &used);
}

bool board_find(const char *name, struct board_choice *choice, char *message, size_t size)
{
    static const matcher order[] = {matches_key, matches_name, matches_loose_key, matches_prefix};
    for (size_t index = 0; index < sizeof order / sizeof order[0]; index++) {
        const char *wanted = order[index] == matches_key ? name : without_vendor(name);
        unsigned found = count_matches(order[index], wanted, choice);
        if (found == 1)
            return true;
        if (found > 1) {
            complain(name, order[index], message, size);
            return false;
        }
    }
    complain(name, NULL, message, size);
    return false;
}

size_t board_list(char *buffer, size_t size)
{
    size_t used = 0;
    for (unsigned index = 0; index < board_count; index++)
        for (unsigned row = 0; row < board_table[index].variant_count; row++) {
            const struct variant *variant = &board_table[index].variants[row];
            append(buffer, size, &used, board_table[index].key);
            append(buffer, size, &used, "\t");
            append(buffer, size, &used, variant->name != NULL ? variant->name : "");
            append(buffer, size, &used, "\n");
        }
    return used + 1;
}

const struct profile *board_profile_by_enum(const struct board *board, unsigned nvml_enum)
{
    for (unsigned index = 0; index < board->profile_count; index++)
        if (board->profiles[index].nvml_enum == nvml_enum)
            return &board->profiles[index];
    return NULL;
}

const struct profile *board_profile_by_id(const struct board *board, unsigned id)
{
    for (unsigned index = 0; index < board->profile_count; index++)
        if (board->profiles[index].id == id)
            return &board->profiles[index];
    return NULL;
}

bool board_any_profile_id(unsigned id)
{
    if (id == ABSENT_ID)
        return false;
    for (unsigned index = 0; index < board_count; index++)
        if (board_profile_by_id(&board_table[index], id) != NULL)
            return true;
    return false;
}
