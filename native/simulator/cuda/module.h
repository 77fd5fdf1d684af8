/* SPDX-License-Identifier: Apache-2.0 */
/* Code: modules and libraries are one thing, as are functions and kernels. Nothing of it runs. */
#ifndef HAMI_CUDA_MODULE_H
#define HAMI_CUDA_MODULE_H

#include "cuda/context.h"

enum { FUNCTION_ATTRIBUTES = 16, FUNCTION_NAME = 256 };

struct function {
    struct object object;
    struct module *module;
    struct function *next; /* of its module */
    int attributes[FUNCTION_ATTRIBUTES];
    char name[FUNCTION_NAME];
};

static inline struct function *function_check(const void *handle)
{
    return object_check(handle, OBJECT_FUNCTION);
}

/* What an image is, told from its first bytes. */
enum image_kind { IMAGE_UNKNOWN, IMAGE_PTX, IMAGE_ELF, IMAGE_FAT };
struct image {
    enum image_kind kind;
    char *data;
    size_t size;
};

/* Copies an image; INVALID_IMAGE if it is none. */
int image_copy(const void *data, struct image *image);
int image_read(const char *path, struct image *image);
void image_free(struct image *image);
/* The 16 bytes before the content of a fat binary. */
void image_write_fat_header(char *header, uint64_t size);
/* Whether the code has a function of that name; a fat binary may, since its content is compressed. */
bool image_has_function(const struct image *image, const char *name);
/* The bytes of a variable; 0 if there is none. */
size_t image_variable(const struct image *image, const char *name);

#endif
