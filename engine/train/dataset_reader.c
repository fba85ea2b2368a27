#include "engine/train/dataset_reader.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

#include "engine/base/buf.h"
#include "engine/base/mem.h"

enum { DATASET_READER_MAX_JSON = 512 << 20 };

/* ---- Folders ---- */

struct dataset_reader_names {
    char **names; /* [count], in the order of their bytes */
    size_t count;
};

static void dataset_reader_free_names(struct dataset_reader_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->names[i]);
    free(names->names);
    *names = (struct dataset_reader_names){0};
}

static int dataset_reader_compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum status dataset_reader_add_name(struct dataset_reader_names *names, const char *name,
                                           struct fail *why)
{
    char **grown = mem_resize(names->names, names->count + 1, sizeof *grown);
    if (grown)
        names->names = grown;
    char *copy = grown ? mem_copy_text(name, strlen(name)) : NULL;
    if (!copy)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for the names in a folder");
    names->names[names->count++] = copy;
    return STATUS_OK;
}

static enum status dataset_reader_join(char *out, const char *folder, const char *name,
                                       struct fail *why)
{
    int length = snprintf(out, DATASET_MAX_PATH + 1, "%s/%s", folder, name);
    if (length > DATASET_MAX_PATH)
        return status_fail(why, STATUS_LIMIT, "%.100s...: a path of more than %d bytes", out,
                           DATASET_MAX_PATH);
    return STATUS_OK;
}

static bool dataset_reader_is_picture(const char *name)
{
    static const char *const endings[] = {".jpg", ".jpeg", ".png", ".webp"};
    const char *dot = strrchr(name, '.');
    for (size_t i = 0; dot && i < sizeof endings / sizeof *endings; i++)
        if (!strcasecmp(dot, endings[i]))
            return true;
    return false;
}

/* Hidden ones left out: the folders in it, or the pictures. */
static enum status dataset_reader_list(const char *folder, bool pictures,
                                       struct dataset_reader_names *out, struct fail *why)
{
    char path[DATASET_MAX_PATH + 1];
    struct stat about;
    DIR *stream = opendir(folder);
    enum status status =
        stream ? STATUS_OK : status_fail(why, STATUS_IO, "%s: cannot be read", folder);
    *out = (struct dataset_reader_names){0};
    for (struct dirent *entry; !status && (entry = readdir(stream));) {
        if (entry->d_name[0] == '.' || (pictures && !dataset_reader_is_picture(entry->d_name)))
            continue;
        status = dataset_reader_join(path, folder, entry->d_name, why);
        if (!status && !stat(path, &about) &&
            (pictures ? S_ISREG(about.st_mode) : S_ISDIR(about.st_mode)))
            status = dataset_reader_add_name(out, entry->d_name, why);
    }
    if (stream)
        closedir(stream);
    if (status)
        dataset_reader_free_names(out);
    else if (out->count)
        qsort(out->names, out->count, sizeof *out->names, dataset_reader_compare);
    return status;
}

static bool dataset_reader_has(const struct dataset_reader_names *names, const char *name)
{
    return names->count &&
           bsearch(&name, names->names, names->count, sizeof *names->names, dataset_reader_compare);
}

static enum status dataset_reader_class_folder(struct dataset *dataset, enum dataset_split split,
                                               const char *folder, uint32_t label, struct fail *why)
{
    char path[DATASET_MAX_PATH + 1];
    struct dataset_reader_names files;
    enum status status = dataset_reader_list(folder, true, &files, why);
    for (size_t i = 0; i < files.count && !status; i++) {
        status = dataset_reader_join(path, folder, files.names[i], why);
        if (!status)
            status = dataset_add_item(dataset, split, path, label, why);
    }
    dataset_reader_free_names(&files);
    return status;
}

/* The folders of classes in `folder`, of which names has all, in their order. */
static enum status dataset_reader_split_folder(struct dataset *dataset, enum dataset_split split,
                                               const char *folder,
                                               const struct dataset_reader_names *names,
                                               struct fail *why)
{
    char path[DATASET_MAX_PATH + 1];
    struct dataset_reader_names here;
    enum status status = dataset_reader_list(folder, false, &here, why);
    for (size_t i = 0; i < names->count && !status; i++) {
        if (!dataset_reader_has(&here, names->names[i]))
            continue;
        status = dataset_reader_join(path, folder, names->names[i], why);
        if (!status)
            status = dataset_reader_class_folder(dataset, split, path, (uint32_t)i, why);
    }
    dataset_reader_free_names(&here);
    return status;
}

/* Names of classes as they stand in sentences. */
static void dataset_reader_tidy(char *name)
{
    for (; *name; name++)
        if (*name == '_')
            *name = ' ';
}

static enum status dataset_reader_set_classes(struct dataset *dataset, const char *path,
                                              struct dataset_reader_names *names, struct fail *why)
{
    if (names->count > DATASET_MAX_CLASSES)
        return status_fail(why, STATUS_LIMIT, "%s: %zu classes, more than %d", path, names->count,
                           DATASET_MAX_CLASSES);
    for (size_t i = 0; i < names->count; i++)
        dataset_reader_tidy(names->names[i]);
    dataset->classes = names->names;
    dataset->class_count = names->count;
    *names = (struct dataset_reader_names){0};
    return STATUS_OK;
}

/* The names of all classes in the splits that are there, each once. */
static enum status dataset_reader_all_classes(const char *path,
                                              const struct dataset_reader_names *splits,
                                              struct dataset_reader_names *out, struct fail *why)
{
    enum status status = STATUS_OK;
    *out = (struct dataset_reader_names){0};
    for (int split = 0; split < DATASET_SPLITS && !status; split++) {
        char folder[DATASET_MAX_PATH + 1];
        struct dataset_reader_names here = {0};
        if (!dataset_reader_has(splits, dataset_split_names[split]))
            continue;
        status = dataset_reader_join(folder, path, dataset_split_names[split], why);
        if (!status)
            status = dataset_reader_list(folder, false, &here, why);
        size_t known = out->count;
        for (size_t i = 0; i < here.count && !status; i++) {
            const struct dataset_reader_names before = {out->names, known};
            if (!dataset_reader_has(&before, here.names[i]))
                status = dataset_reader_add_name(out, here.names[i], why);
        }
        if (out->count)
            qsort(out->names, out->count, sizeof *out->names, dataset_reader_compare);
        dataset_reader_free_names(&here);
    }
    return status;
}

static enum status dataset_reader_splits(struct dataset *dataset, const char *path,
                                         const struct dataset_reader_names *splits,
                                         struct fail *why)
{
    struct dataset_reader_names names;
    enum status status = dataset_reader_all_classes(path, splits, &names, why);
    for (int split = 0; split < DATASET_SPLITS && !status; split++) {
        char folder[DATASET_MAX_PATH + 1];
        if (!dataset_reader_has(splits, dataset_split_names[split]))
            continue;
        status = dataset_reader_join(folder, path, dataset_split_names[split], why);
        if (!status)
            status = dataset_reader_split_folder(dataset, (enum dataset_split)split, folder, &names,
                                                 why);
    }
    if (!status)
        status = dataset_reader_set_classes(dataset, path, &names, why);
    dataset_reader_free_names(&names);
    return status;
}

enum status dataset_reader_folder(struct dataset *dataset, const char *path, struct fail *why)
{
    struct dataset_reader_names names;
    enum status status = dataset_reader_list(path, false, &names, why);
    if (status)
        return status;
    if (dataset_reader_has(&names, "train") || dataset_reader_has(&names, "test")) {
        status = dataset_reader_splits(dataset, path, &names, why);
    } else {
        status = dataset_reader_split_folder(dataset, DATASET_TRAIN, path, &names, why);
        if (!status)
            status = dataset_reader_split_folder(dataset, DATASET_TEST, path, &names, why);
        if (!status)
            status = dataset_reader_set_classes(dataset, path, &names, why);
    }
    dataset_reader_free_names(&names);
    return status;
}

/* ---- split_zhou_*.json ---- */

struct dataset_reader_json {
    struct dataset *dataset;
    const char *path;
    const char *pictures; /* the folder that pictures are in */
};

static enum status dataset_reader_name_class(struct dataset *dataset, size_t label,
                                             const char *name, struct fail *why)
{
    if (label >= dataset->class_count) {
        char **grown = mem_resize(dataset->classes, label + 1, sizeof *grown);
        if (!grown)
            return status_fail(why, STATUS_NO_MEMORY, "no memory for %zu classes", label + 1);
        memset(grown + dataset->class_count, 0, (label + 1 - dataset->class_count) * sizeof *grown);
        dataset->classes = grown;
        dataset->class_count = label + 1;
    }
    char *tidy = mem_copy_text(name, strlen(name));
    if (!tidy)
        return status_fail(why, STATUS_NO_MEMORY, "no memory for a class");
    dataset_reader_tidy(tidy);
    char *known = dataset->classes[label];
    if (!known) {
        dataset->classes[label] = tidy;
        return STATUS_OK;
    }
    bool same = !strcmp(known, tidy);
    free(tidy);
    return same ? STATUS_OK
                : status_fail(why, STATUS_INVALID,
                              "label %zu is \"%.80s\" here and \"%.80s\" "
                              "elsewhere",
                              label, name, known);
}

static enum status dataset_reader_entry(const struct dataset_reader_json *reader,
                                        enum dataset_split split, const json_t *entry,
                                        struct fail *why)
{
    char path[DATASET_MAX_PATH + 1];
    const char *name = json_string_value(json_array_get(entry, 0));
    const json_t *label = json_array_get(entry, 1);
    const char *class_name = json_string_value(json_array_get(entry, 2));
    if (json_array_size(entry) != 3 || !name || !class_name || !json_is_integer(label))
        return status_fail(why, STATUS_FORMAT, "must be [path, label, class name]");
    json_int_t number = json_integer_value(label);
    if (number < 0 || number >= DATASET_MAX_CLASSES)
        return status_fail(why, STATUS_LIMIT, "label %" JSON_INTEGER_FORMAT " is not from 0 to %d",
                           number, DATASET_MAX_CLASSES - 1);
    enum status status =
        dataset_reader_name_class(reader->dataset, (size_t)number, class_name, why);
    if (!status)
        status = dataset_reader_join(path, reader->pictures, name, why);
    return status ? status : dataset_add_item(reader->dataset, split, path, (uint32_t)number, why);
}

static enum status dataset_reader_entries(const struct dataset_reader_json *reader,
                                          enum dataset_split split, const json_t *entries,
                                          struct fail *why)
{
    const char *name = dataset_split_names[split];
    if (!json_is_array(entries))
        return status_fail(why, STATUS_FORMAT, "%s: \"%s\" is not a list", reader->path, name);
    for (size_t i = 0; i < json_array_size(entries); i++) {
        enum status status = dataset_reader_entry(reader, split, json_array_get(entries, i), why);
        if (status)
            return status_context(why, status, "%s: entry %zu of \"%s\"", reader->path, i + 1,
                                  name);
    }
    return STATUS_OK;
}

static enum status dataset_reader_document(const struct dataset_reader_json *reader,
                                           const json_t *document, struct fail *why)
{
    enum status status = STATUS_OK;
    for (int split = 0; split < DATASET_SPLITS && !status; split++) {
        const json_t *entries = json_object_get(document, dataset_split_names[split]);
        if (entries)
            status = dataset_reader_entries(reader, (enum dataset_split)split, entries, why);
    }
    for (size_t label = 0; label < reader->dataset->class_count && !status; label++)
        if (!reader->dataset->classes[label])
            status = status_fail(why, STATUS_INVALID, "%s: no picture has the label %zu of %zu",
                                 reader->path, label, reader->dataset->class_count);
    return status;
}

enum status dataset_reader_json(struct dataset *dataset, const char *path, const char *pictures,
                                struct fail *why)
{
    char folder[DATASET_MAX_PATH + 1];
    struct buf text;
    json_error_t error;
    const char *slash = strrchr(path, '/');
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path) : 1, slash ? path : ".");
    buf_init(&text, DATASET_READER_MAX_JSON);
    enum status status = buf_read_file(&text, path, why);
    if (status) {
        buf_finish(&text);
        return status;
    }
    json_t *document = json_loadb(text.data, text.size, JSON_REJECT_DUPLICATES, &error);
    buf_finish(&text);
    const struct dataset_reader_json reader = {dataset, path, pictures ? pictures : folder};
    if (!document)
        status = status_fail(why, STATUS_FORMAT, "%s: line %d: %s", path, error.line, error.text);
    else if (!json_is_object(document))
        status = status_fail(why, STATUS_FORMAT, "%s: not a JSON object", path);
    else
        status = dataset_reader_document(&reader, document, why);
    json_decref(document);
    return status;
}
