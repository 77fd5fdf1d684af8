/* SPDX-License-Identifier: Apache-2.0 */
#include "cuda/image.h"

#include "cuda_abi.h"

#include <ctype.h>
#include <elf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAT_MAGIC = 0xBA55ED50, FAT_WRAPPER = 0x466243B1, FAT_HEADER = 16, MOST_BYTES = 1 << 30 };

/* The host compiler wraps a fat binary: magic, version, pointer. */
struct wrapper {
    uint32_t magic, version;
    const void *data;
};

static size_t elf_size(const unsigned char *data)
{
    Elf64_Ehdr header;
    memcpy(&header, data, sizeof header);
    uint64_t sections = header.e_shoff + (uint64_t)header.e_shnum * header.e_shentsize;
    uint64_t programs = header.e_phoff + (uint64_t)header.e_phnum * header.e_phentsize;
    uint64_t size = sections > programs ? sections : programs;
    return header.e_ident[EI_CLASS] == ELFCLASS64 && size >= sizeof header && size < MOST_BYTES ? size : 0;
}

static size_t fat_size(const unsigned char *data)
{
    uint16_t header;
    uint64_t size;
    memcpy(&header, data + 6, sizeof header);
    memcpy(&size, data + 8, sizeof size);
    return header >= FAT_HEADER && size < MOST_BYTES ? header + size : 0;
}

void image_write_fat_header(char *header, uint64_t size)
{
    uint32_t magic = FAT_MAGIC;
    uint16_t version = 1, length = FAT_HEADER;
    memcpy(header, &magic, sizeof magic);
    memcpy(header + 4, &version, sizeof version);
    memcpy(header + 6, &length, sizeof length);
    memcpy(header + 8, &size, sizeof size);
}

/* Text with a version directive is PTX. */
static size_t ptx_size(const char *text)
{
    return strstr(text, ".version") != NULL && strstr(text, ".target") != NULL ? strlen(text) + 1 : 0;
}

static struct image recognise(const void *data)
{
    uint32_t magic;
    memcpy(&magic, data, sizeof magic);
    if (magic == FAT_WRAPPER)
        return recognise(((const struct wrapper *)data)->data);
    if (magic == FAT_MAGIC)
        return (struct image){IMAGE_FAT, (char *)(uintptr_t)data, fat_size(data)};
    if (memcmp(data, ELFMAG, SELFMAG) == 0)
        return (struct image){IMAGE_ELF, (char *)(uintptr_t)data, elf_size(data)};
    const unsigned char *text = data;
    if (isprint(text[0]) || isspace(text[0]))
        return (struct image){IMAGE_PTX, (char *)(uintptr_t)data, ptx_size(data)};
    return (struct image){IMAGE_UNKNOWN, NULL, 0};
}

int image_copy(const void *data, struct image *image)
{
    if (data == NULL)
        return CU_ERROR_INVALID_VALUE;
    *image = recognise(data);
    if (image->size == 0)
        return CU_ERROR_INVALID_IMAGE;
    char *copy = malloc(image->size);
    if (copy == NULL)
        return CU_ERROR_OUT_OF_MEMORY;
    image->data = memcpy(copy, image->data, image->size);
    return CU_SUCCESS;
}

int image_read(const char *path, struct image *image)
{
    FILE *file = path != NULL ? fopen(path, "re") : NULL;
    if (file == NULL)
        return path == NULL ? CU_ERROR_INVALID_VALUE : 301; /* FILE_NOT_FOUND */
    long length = fseek(file, 0, SEEK_END) == 0 ? ftell(file) : -1;
    if (length > 0 && fseek(file, 0, SEEK_SET) != 0)
        length = -1;
    char *data = length > 0 && length < MOST_BYTES ? calloc(1, (size_t)length + 64) : NULL;
    bool whole = data != NULL && fread(data, 1, (size_t)length, file) == (size_t)length;
    fclose(file);
    int result = whole ? image_copy(data, image) : CU_ERROR_INVALID_IMAGE;
    free(data);
    return result;
}

void image_free(struct image *image)
{
    free(image->data);
    image->data = NULL;
}

/* Calls of the symbols of an ELF file whose type is wanted; the size of the one by that name plus 1, or 0. */
static size_t find_symbol(const struct image *image, const char *name, unsigned type)
{
    const Elf64_Ehdr *header = (const void *)image->data;
    const Elf64_Shdr *sections = (const void *)(image->data + header->e_shoff);
    if (header->e_shentsize != sizeof *sections || header->e_shoff % 8 != 0)
        return 0;
    for (unsigned index = 0; index < header->e_shnum; index++) {
        const Elf64_Shdr *section = &sections[index];
        if (section->sh_type != SHT_SYMTAB || section->sh_link >= header->e_shnum || section->sh_offset > image->size ||
            section->sh_size > image->size - section->sh_offset)
            continue;
        const Elf64_Shdr *strings = &sections[section->sh_link];
        const Elf64_Sym *symbols = (const void *)(image->data + section->sh_offset);
        if (strings->sh_offset > image->size || strings->sh_size > image->size - strings->sh_offset)
            continue;
        for (size_t row = 0; row < section->sh_size / sizeof *symbols; row++) {
            size_t place = symbols[row].st_name, length = strlen(name) + 1;
            if (ELF64_ST_TYPE(symbols[row].st_info) == type && place + length <= strings->sh_size &&
                memcmp(image->data + strings->sh_offset + place, name, length) == 0)
                return symbols[row].st_size + 1;
        }
    }
    return 0;
}

/* A word of the text that stands alone. */
static const char *find_word(const char *text, const char *word)
{
    size_t length = strlen(word);
    for (const char *place = strstr(text, word); place != NULL && length != 0; place = strstr(place + 1, word)) {
        bool starts = place == text || (!isalnum((unsigned char)place[-1]) && place[-1] != '_' && place[-1] != '$');
        bool ends = !isalnum((unsigned char)place[length]) && place[length] != '_' && place[length] != '$';
        if (starts && ends)
            return place;
    }
    return NULL;
}

static bool ptx_has_entry(const char *text, const char *name)
{
    for (const char *entry = strstr(text, ".entry"); entry != NULL; entry = strstr(entry + 1, ".entry")) {
        const char *found = find_word(entry, name), *end = strpbrk(entry, "({;");
        if (found != NULL && (end == NULL || found < end))
            return true;
    }
    return false;
}

bool image_has_function(const struct image *image, const char *name)
{
    if (image->kind == IMAGE_PTX)
        return ptx_has_entry(image->data, name);
    return image->kind == IMAGE_FAT || find_symbol(image, name, STT_FUNC) != 0;
}

/* `.global .align 4 .b8 name[16];` */
static size_t ptx_variable(const char *text, const char *name)
{
    const char *found = find_word(text, name);
    if (found == NULL || found[strlen(name)] != '[')
        return found != NULL && ptx_has_entry(text, name) ? 0 : found != NULL ? 8 : 0;
    return (size_t)strtoul(found + strlen(name) + 1, NULL, 10);
}

size_t image_variable(const struct image *image, const char *name)
{
    if (image->kind == IMAGE_PTX)
        return ptx_variable(image->data, name);
    size_t found = image->kind == IMAGE_ELF ? find_symbol(image, name, STT_OBJECT) : 0;
    return found != 0 ? found - 1 : 0;
}
