/* SPDX-License-Identifier: Apache-2.0 */
#include "node/spec.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

enum { MAX_PART = 128 };

/* Reads the count before the `x`; its digits may be many, its value stays within reach of the limit. */
static const char *parse_count(const char *part, unsigned *count)
{
    *count = 0;
    for (; isdigit((unsigned char)*part); part++)
        if (*count <= MAX_GPUS)
            *count = *count * 10 + (unsigned)(*part - '0');
    return part;
}

static const char *count_problem(const char *part, unsigned count, const char *rest)
{
    if (part[0] == '\0')
        return "an empty part; write COUNTxBOARD, for example 2xA100-SXM4-40GB";
    if (isspace((unsigned char)part[0]) || isspace((unsigned char)part[strlen(part) - 1]))
        return "a blank before or after COUNTxBOARD";
    if (rest == part || *rest != 'x')
        return "no COUNTx at its start; write COUNTxBOARD, for example 2xA100-SXM4-40GB";
    if (count == 0)
        return "a count of zero; a node has 1 to 32 GPUs";
    if (count > MAX_GPUS)
        return "too many GPUs; a node has 1 to 32 GPUs";
    return rest[1] == '\0' ? "no board after the x" : NULL;
}

static bool add_part(const char *part, struct spec *spec, char *message, size_t size)
{
    unsigned count;
    const char *rest = parse_count(part, &count);
    const char *problem = count_problem(part, count, rest);
    if (problem == NULL && spec->count + count > MAX_GPUS)
        problem = "too many GPUs altogether; a node has 1 to 32 GPUs";
    if (problem != NULL) {
        snprintf(message, size, "part '%s' of the node has %s", part, problem);
        return false;
    }
    struct board_choice choice;
    if (!board_find(rest + 1, &choice, message, size))
        return false;
    while (count-- != 0)
        spec->gpus[spec->count++] = choice;
    return true;
}

bool spec_parse(const char *text, struct spec *spec, char *message, size_t size)
{
    spec->count = 0;
    if (text == NULL || text[0] == '\0') {
        snprintf(message, size, "the node is empty; write COUNTxBOARD, for example 2xA100-SXM4-40GB");
        return false;
    }
    for (;;) {
        char part[MAX_PART];
        size_t length = strcspn(text, ",");
        if (length >= sizeof part) {
            snprintf(message, size, "a part of the node is longer than %d characters", MAX_PART - 1);
            return false;
        }
        memcpy(part, text, length);
        part[length] = '\0';
        if (!add_part(part, spec, message, size))
            return false;
        if (text[length] == '\0')
            return true;
        text += length + 1;
    }
}
