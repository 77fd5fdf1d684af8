/* SPDX-License-Identifier: Apache-2.0 */
#include "region/environment.h"

#include <stdio.h>
#include <string.h>

#include "log.h"

#define MOST_BYTES ((uint64_t)1 << 63)
#define VALUE 4096

static bool is_digit(char letter)
{
    return letter >= '0' && letter <= '9';
}

static char lower(char letter)
{
    return letter >= 'A' && letter <= 'Z' ? (char)(letter + ('a' - 'A')) : letter;
}

static int hexadecimal(char letter)
{
    char small = lower(letter);
    if (is_digit(small))
        return small - '0';
    return small >= 'a' && small <= 'f' ? small - 'a' + 10 : -1;
}

static const char *trimmed(const char *text)
{
    while (*text == ' ' || *text == '\t')
        text++;
    return text;
}

/* The digits of a whole number; NULL when there is none or it is beyond any size. */
static const char *read_whole(const char *text, uint64_t *value)
{
    int base = text[0] == '0' && lower(text[1]) == 'x' ? 16 : 10;
    text += base == 16 ? 2 : 0;
    const char *begin = text;
    for (*value = 0;; text++) {
        int digit = base == 16 ? hexadecimal(*text) : is_digit(*text) ? *text - '0' : -1;
        if (digit < 0)
            break;
        if (*value > MOST_BYTES / 16)
            return NULL;
        *value = *value * (uint64_t)base + (uint64_t)digit;
    }
    return text != begin ? text : NULL;
}

/* The unit as a power of two; false for what is none. */
static bool read_unit(const char *text, unsigned *shift)
{
    static const char letters[] = "kmgt";
    const char *found = *text != '\0' ? strchr(letters, lower(*text)) : NULL;
    *shift = found != NULL ? 10 * (unsigned)(found - letters + 1) : 0;
    text += found != NULL;
    text += found != NULL && lower(text[0]) == 'i' && lower(text[1]) == 'b';
    text += lower(*text) == 'b';
    return *trimmed(text) == '\0';
}

/* A fraction of up to nine digits, in units of one over `*scale`. */
static const char *read_fraction(const char *text, uint64_t *part, uint64_t *scale)
{
    *part = 0;
    *scale = 1;
    if (*text != '.')
        return text;
    text++;
    if (!is_digit(*text))
        return NULL;
    for (; is_digit(*text); text++) {
        if (*scale == 1000000000)
            return NULL;
        *part = *part * 10 + (uint64_t)(*text - '0');
        *scale *= 10;
    }
    return text;
}

bool vgpu_parse_size(const char *text, uint64_t *bytes)
{
    uint64_t whole, part, scale;
    unsigned shift;
    text = trimmed(text);
    const char *rest = read_whole(text, &whole);
    rest = rest != NULL ? read_fraction(rest, &part, &scale) : NULL;
    if (rest == NULL || !read_unit(rest, &shift) || (whole << shift) >> shift != whole || whole << shift > MOST_BYTES)
        return false;
    *bytes =
        (whole << shift) + (part << (shift > 30 ? 30 : shift)) / scale * (shift > 30 ? (uint64_t)1 << (shift - 30) : 1);
    return *bytes <= MOST_BYTES;
}

/* A whole number from 0 to 100. */
static bool parse_percent(const char *text, uint64_t *percent)
{
    const char *rest = read_whole(trimmed(text), percent);
    return rest != NULL && *trimmed(rest) == '\0' && *percent <= 100;
}

/* True for what Go's strconv.ParseBool takes for true, by which HAMi reads such variables. */
static bool parse_flag(const char *text)
{
    static const char *const words[] = {"1", "t", "T", "TRUE", "true", "True"};
    for (size_t i = 0; text != NULL && i < sizeof words / sizeof *words; i++)
        if (strcmp(text, words[i]) == 0)
            return true;
    return false;
}

struct source {
    const char *(*look_up)(const char *name);
    const char *overrides;
    char value[VALUE]; /* the last one that came from `overrides` */
};

/* The value in the lines of overrides, the last one that names it. HAMi-core stops at the first line without '='. */
static const char *overridden(struct source *source, const char *name)
{
    size_t length = strlen(name);
    const char *found = NULL;
    for (const char *line = source->overrides; line != NULL && *line != '\0';) {
        size_t size = strcspn(line, "\n");
        if (memchr(line, '=', size) == NULL)
            break;
        if (size > length && line[length] == '=' && memcmp(line, name, length) == 0 && size - length - 1 < VALUE) {
            memcpy(source->value, line + length + 1, size - length - 1);
            source->value[size - length - 1] = '\0';
            found = source->value;
        }
        line += size + (line[size] == '\n');
    }
    return found;
}

static const char *get(struct source *source, const char *name)
{
    const char *found = overridden(source, name);
    return found != NULL ? found : source->look_up(name);
}

static const char *get_indexed(struct source *source, const char *name, int index)
{
    char full[64];
    snprintf(full, sizeof full, "%s_%d", name, index);
    return get(source, full);
}

static void read_limits(struct vgpu_environment *found, struct source *source, int index)
{
    uint64_t bytes = 0, percent = 0;
    const char *text = get_indexed(source, "CUDA_DEVICE_MEMORY_LIMIT", index);
    if (text == NULL || (vgpu_parse_size(text, &bytes) && bytes == 0))
        text = get(source, "CUDA_DEVICE_MEMORY_LIMIT");
    if (text != NULL && !vgpu_parse_size(text, &bytes)) {
        vgpu_log(VGPU_ERROR, "the memory limit '%.60s' of device %d is not a size like 1024m; allocations there fail",
                 text, index);
        found->malformed |= 1u << index;
        bytes = VGPU_MALFORMED_LIMIT;
    }
    found->memory_limit[index] = text != NULL ? bytes : 0;
    text = get_indexed(source, "CUDA_DEVICE_SM_LIMIT", index);
    text = text != NULL ? text : get(source, "CUDA_DEVICE_SM_LIMIT");
    if (text != NULL && !parse_percent(text, &percent))
        vgpu_log(VGPU_ERROR, "the core limit '%.60s' of device %d is not in the range 0 to 100; using 100", text,
                 index);
    found->sm_limit[index] = text != NULL && percent >= 1 && percent <= 100 ? percent : 100;
}

static int read_number(const char *text, int most, int otherwise)
{
    uint64_t value;
    const char *rest = text != NULL ? read_whole(trimmed(text), &value) : NULL;
    return rest != NULL && *trimmed(rest) == '\0' && value <= (uint64_t)most ? (int)value : otherwise;
}

static int read_policy(const char *text)
{
    if (text != NULL && (strcmp(text, "force") == 0 || strcmp(text, "FORCE") == 0))
        return 1;
    return text != NULL && (strcmp(text, "disable") == 0 || strcmp(text, "DISABLE") == 0) ? 2 : 0;
}

void vgpu_environment_read(struct vgpu_environment *found, const char *(*look_up)(const char *name),
                           const char *overrides)
{
    struct source source = {.look_up = look_up, .overrides = overrides};
    memset(found, 0, sizeof *found);
    found->log_level = read_number(get(&source, "LIBCUDA_LOG_LEVEL"), 4, 2);
    vgpu_log_level(found->log_level);
    for (int index = 0; index < VGPU_DEVICES; index++)
        read_limits(found, &source, index);
    found->disabled = parse_flag(get(&source, "CUDA_DISABLE_CONTROL"));
    found->oversubscribe = parse_flag(get(&source, "CUDA_OVERSUBSCRIBE"));
    found->priority = read_number(get(&source, "CUDA_TASK_PRIORITY"), 1, 1);
    found->policy = read_policy(get(&source, "GPU_CORE_UTILIZATION_POLICY"));
    const char *cache = get(&source, "CUDA_DEVICE_MEMORY_SHARED_CACHE");
    if (cache == NULL)
        return;
    size_t length = strlen(cache);
    if (length < sizeof found->cache)
        memcpy(found->cache, cache, length + 1);
    else
        vgpu_log(VGPU_ERROR, "CUDA_DEVICE_MEMORY_SHARED_CACHE is longer than %d bytes", VGPU_PATH - 1);
}
