/* SPDX-License-Identifier: Apache-2.0 */
#include "node/fault.h"

#include "nvml_abi.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { FOR_EVER = 0xFFFFFFFF, MAX_RULE = 160 };

/* The rules of this process, from its environment; guarded by the lock of the session. */
static struct fault own_faults[MAX_FAULTS];
static uint32_t own_calls[MAX_FAULTS];
unsigned fault_own_count;

static bool function_matches(const char *pattern, const char *function)
{
    size_t length = strlen(pattern);
    if (length != 0 && pattern[length - 1] == '*')
        return strncmp(pattern, function, length - 1) == 0;
    return strcmp(pattern, function) == 0;
}

static bool concerns(const struct fault *fault, const char *function, unsigned gpu)
{
    return (fault->gpu == NO_SLOT || fault->gpu == gpu) && function_matches(fault->function, function);
}

static bool is_due(const struct fault *fault, uint32_t call)
{
    return call >= fault->first && call - fault->first < fault->times;
}

static bool own_fault_due(const char *function, unsigned gpu, struct fault_effect *effect)
{
    bool due = false;
    for (unsigned index = 0; index < fault_own_count; index++) {
        const struct fault *fault = &own_faults[index];
        if (concerns(fault, function, gpu) && is_due(fault, ++own_calls[index]) && !due) {
            *effect = (struct fault_effect){fault->action, fault->value};
            due = true;
        }
    }
    return due;
}

bool fault_due(struct store *store, const struct node *node, const char *function, unsigned gpu,
               struct fault_effect *effect)
{
    bool due = fault_own_count != 0 && own_fault_due(function, gpu, effect);
    for (unsigned index = 0; index < node->fault_count; index++) {
        const struct fault *fault = &node->faults[index];
        if (!concerns(fault, function, gpu))
            continue;
        uint32_t call = atomic_fetch_add(&store->file->header.fault_calls[index], 1) + 1;
        if (!due && is_due(fault, call)) {
            *effect = (struct fault_effect){fault->action, fault->value};
            due = true;
        }
    }
    return due;
}

int fault_act(const struct fault_effect *effect)
{
    struct timespec pause_time = {effect->value / 1000, (long)(effect->value % 1000) * 1000000};
    switch (effect->action) {
    case FAULT_LATENCY:
        while (nanosleep(&pause_time, &pause_time) != 0)
            continue;
        return NVML_SUCCESS;
    case FAULT_HANG:
        for (;;)
            pause();
    case FAULT_ERROR:
        return (int)effect->value;
    case FAULT_KILL:
        raise(SIGKILL);
        return NVML_ERROR_UNKNOWN;
    default:
        return NVML_SUCCESS;
    }
}

static bool parse_number(const char **text, uint32_t *value)
{
    char *end;
    unsigned long number = strtoul(*text, &end, 10);
    bool good = **text >= '0' && **text <= '9' && number <= 1000000000ul;
    *value = (uint32_t)number;
    *text = end;
    return good;
}

static bool parse_action(const char *text, struct fault *fault)
{
    static const struct {
        const char *word;
        enum fault_action action;
        bool has_value;
    } actions[] = {{"latency:", FAULT_LATENCY, true},
                   {"error:", FAULT_ERROR, true},
                   {"hang", FAULT_HANG, false},
                   {"kill-after", FAULT_KILL_AFTER, false},
                   {"kill", FAULT_KILL, false}};
    for (size_t index = 0; index < sizeof actions / sizeof actions[0]; index++) {
        size_t length = strlen(actions[index].word);
        const char *rest = text + length;
        if (strncmp(text, actions[index].word, length) != 0)
            continue;
        fault->action = actions[index].action;
        return (!actions[index].has_value || parse_number(&rest, &fault->value)) && *rest == '\0' &&
               (fault->action != FAULT_ERROR || fault->value != NVML_SUCCESS);
    }
    return false;
}

/* `[@GPU][#FIRST[+TIMES]]`: with a call number alone the fault acts once, without one it acts always. */
static bool parse_where(const char *text, struct fault *fault)
{
    if (*text == '@') {
        text++;
        if (!parse_number(&text, &fault->gpu))
            return false;
    }
    if (*text == '#') {
        text++;
        fault->times = 1;
        if (!parse_number(&text, &fault->first) || fault->first == 0)
            return false;
        if (*text == '+') {
            text++;
            if (!parse_number(&text, &fault->times) || fault->times == 0)
                return false;
        }
    }
    return *text == '\0';
}

static bool parse_function(const char *text, size_t length, struct fault *fault)
{
    if (length == 0 || length >= sizeof fault->function)
        return false;
    memcpy(fault->function, text, length);
    fault->function[length] = '\0';
    return strncmp(fault->function, "nvml", 4) == 0 || strncmp(fault->function, "cu", 2) == 0 ||
           strcmp(fault->function, "*") == 0;
}

bool fault_parse(const char *text, struct fault *fault, char *message, size_t size)
{
    char left[MAX_RULE] = "";
    const char *equals = strchr(text, '=');
    *fault = (struct fault){.gpu = NO_SLOT, .first = 1, .times = FOR_EVER};
    if (equals != NULL && (size_t)(equals - text) < sizeof left) {
        memcpy(left, text, (size_t)(equals - text));
        size_t length = strcspn(left, "@#");
        if (parse_function(left, length, fault) && parse_where(left + length, fault) && parse_action(equals + 1, fault))
            return true;
    }
    snprintf(message, size,
             "'%s' is not a fault; write FUNCTION[@GPU][#FIRST[+TIMES]]=latency:MS|hang|error:CODE|kill|kill-after, "
             "for example nvmlDeviceCreateGpuInstance#2=error:23",
             text);
    return false;
}

static bool read_rule(const char *text, size_t length, char *message, size_t size)
{
    char rule[MAX_RULE];
    if (length == 0)
        return true;
    if (length >= sizeof rule || fault_own_count == MAX_FAULTS) {
        snprintf(message, size, "HAMI_SIM_FAULTS has too long a rule or more than %d rules", MAX_FAULTS);
        return false;
    }
    memcpy(rule, text, length);
    rule[length] = '\0';
    own_calls[fault_own_count] = 0;
    if (!fault_parse(rule, &own_faults[fault_own_count], message, size))
        return false;
    fault_own_count++;
    return true;
}

bool fault_read_environment(char *message, size_t size)
{
    const char *text = getenv("HAMI_SIM_FAULTS");
    fault_own_count = 0;
    while (text != NULL && *text != '\0') {
        size_t length = strcspn(text, ",;");
        if (!read_rule(text, length, message, size)) {
            fault_own_count = 0;
            return false;
        }
        text += length + (text[length] != '\0');
    }
    return true;
}
