/* SPDX-License-Identifier: Apache-2.0 */
/* Images of code: PTX, ELF and fat binaries. */
#ifndef HAMI_CUDA_IMAGE_H
#define HAMI_CUDA_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

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
