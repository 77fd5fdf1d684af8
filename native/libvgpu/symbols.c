/* SPDX-License-Identifier: Apache-2.0 */
#include "symbols.h"

#include <elf.h>
#include <link.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>

#include "vgpu.h"

typedef void *(*dlsym_function)(void *handle, const char *name);
typedef void *(*dlopen_function)(const char *name, int mode);

/* The assembly in resolve.c jumps through this one. */
_Atomic(dlsym_function) vgpu_real_dlsym;
static _Atomic(dlopen_function) real_dlopen;

struct wanted {
    const char *name;
    void *found;
};

/* What an object's dynamic section says of its symbols. */
struct tables {
    const ElfW(Sym) *symbols;
    const char *strings;
    const uint32_t *hashes; /* DT_GNU_HASH */
};

static const void *within(const struct dl_phdr_info *object, ElfW(Addr) address)
{
    /* glibc has relocated these pointers, other loaders have not. */
    return (const void *)(address >= object->dlpi_addr ? address : object->dlpi_addr + address);
}

static bool read_tables(const struct dl_phdr_info *object, struct tables *tables)
{
    const ElfW(Dyn) *entry = NULL;
    for (int i = 0; i < object->dlpi_phnum; i++)
        if (object->dlpi_phdr[i].p_type == PT_DYNAMIC)
            entry = (const ElfW(Dyn) *)(object->dlpi_addr + object->dlpi_phdr[i].p_vaddr);
    memset(tables, 0, sizeof *tables);
    for (; entry != NULL && entry->d_tag != DT_NULL; entry++) {
        if (entry->d_tag == DT_SYMTAB)
            tables->symbols = within(object, entry->d_un.d_ptr);
        else if (entry->d_tag == DT_STRTAB)
            tables->strings = within(object, entry->d_un.d_ptr);
        else if (entry->d_tag == DT_GNU_HASH)
            tables->hashes = within(object, entry->d_un.d_ptr);
    }
    return tables->symbols != NULL && tables->strings != NULL && tables->hashes != NULL;
}

/* GNU's hash section: bucket count, first symbol, bloom size, bloom shift, bloom, buckets, chains. */
static const ElfW(Sym) *find_symbol(const struct tables *tables, const char *name)
{
    uint32_t hash = 5381;
    for (const char *letter = name; *letter != '\0'; letter++)
        hash = hash * 33 + (unsigned char)*letter;
    uint32_t buckets = tables->hashes[0], first = tables->hashes[1], bloom = tables->hashes[2];
    const uint32_t *bucket = tables->hashes + 4 + bloom * (sizeof(ElfW(Addr)) / sizeof(uint32_t));
    const uint32_t *chain = bucket + buckets;
    uint32_t index = buckets != 0 ? bucket[hash % buckets] : 0;
    for (; index >= first && index != 0; index++) {
        uint32_t linked = chain[index - first];
        const ElfW(Sym) *symbol = &tables->symbols[index];
        if ((linked | 1) == (hash | 1) && symbol->st_shndx != SHN_UNDEF &&
            strcmp(tables->strings + symbol->st_name, name) == 0)
            return symbol;
        if ((linked & 1) != 0)
            break;
    }
    return NULL;
}

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static int look_in(struct dl_phdr_info *object, size_t size, void *data)
{
    (void)size;
    struct wanted *wanted = data;
    struct tables tables;
    const char *name = base_name(object->dlpi_name != NULL ? object->dlpi_name : "");
    bool is_libc = strncmp(name, "libc.so", 7) == 0 || strncmp(name, "libdl.so", 8) == 0 ||
                   strncmp(name, "libc-", 5) == 0 || strncmp(name, "libdl-", 6) == 0;
    if (!is_libc || !read_tables(object, &tables))
        return 0;
    const ElfW(Sym) *symbol = find_symbol(&tables, wanted->name);
    if (symbol != NULL)
        wanted->found = (void *)(object->dlpi_addr + symbol->st_value);
    return symbol != NULL;
}

static void *find_in_libc(const char *name)
{
    struct wanted wanted = {.name = name};
    dl_iterate_phdr(look_in, &wanted);
    return wanted.found;
}

void *symbols_real_dlsym(void *handle, const char *name)
{
    dlsym_function function = atomic_load_explicit(&vgpu_real_dlsym, memory_order_acquire);
    if (VGPU_UNLIKELY(function == NULL)) {
        function = (dlsym_function)(uintptr_t)find_in_libc("dlsym");
        atomic_store_explicit(&vgpu_real_dlsym, function, memory_order_release);
    }
    return function != NULL && name != NULL ? function(handle, name) : NULL;
}

void *symbols_dlopen(const char *name, int mode)
{
    dlopen_function function = atomic_load_explicit(&real_dlopen, memory_order_acquire);
    if (VGPU_UNLIKELY(function == NULL)) {
        function = (dlopen_function)(uintptr_t)find_in_libc("dlopen");
        atomic_store_explicit(&real_dlopen, function, memory_order_release);
    }
    return function != NULL ? function(name, mode) : NULL;
}

struct located {
    uintptr_t address;
    const char *name;
};

static int holds(struct dl_phdr_info *object, size_t size, void *data)
{
    (void)size;
    struct located *located = data;
    for (int i = 0; i < object->dlpi_phnum; i++) {
        const ElfW(Phdr) *part = &object->dlpi_phdr[i];
        uintptr_t begin = object->dlpi_addr + part->p_vaddr;
        if (part->p_type == PT_LOAD && located->address >= begin && located->address < begin + part->p_memsz) {
            located->name = object->dlpi_name;
            return 1;
        }
    }
    return 0;
}

const char *symbols_object_of(const void *address)
{
    struct located located = {.address = (uintptr_t)address, .name = ""};
    dl_iterate_phdr(holds, &located);
    return located.name != NULL ? located.name : "";
}
