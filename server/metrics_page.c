#include "server/metrics_page.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "config/version.h"
#include "server/access_log.h"
#include "server/label_cache.h"
#include "server/metrics.h"
#include "server/service.h"
#include "server/workers.h"

/* ---- Work ---- */

static void metrics_page_write_work(const struct service *service, struct exposition *exposition)
{
    static const char batches[] = "attriprompt_batches_total", rows[] = "attriprompt_batch_rows";
    static const char *const reasons[BATCHER_REASONS] = {"full", "delay", "greedy"};
    struct workers_figures figures;
    workers_figures(service->workers, &figures);
    exposition_only_count(exposition, "attriprompt_queue_rows", "gauge",
                          "Pictures that wait for a worker; a request counts as one until it is "
                          "read.",
                          figures.queue_rows);
    exposition_begin(exposition, rows, "histogram",
                     "Pictures that went through the model together.");
    exposition_histogram(exposition, rows, NULL, &figures.batches.rows, &histogram_rows);
    exposition_begin(exposition, batches, "counter",
                     "Passes through the model, by why they began: the batch was full, its delay "
                     "was over, or nothing else was in line before it.");
    for (size_t i = 0; i < BATCHER_REASONS; i++)
        exposition_count(exposition, batches, &(struct exposition_labels){{{"reason", reasons[i]}}},
                         figures.batches.batches[i]);
}

/* ---- Caches ---- */

static void metrics_page_write_caches(const struct service *service, struct exposition *exposition)
{
    struct engine_composition_cache_figures compositions;
    struct label_cache_figures labels;
    engine_composition_cache_figures(service->engine, &compositions);
    label_cache_figures(service->label_cache, &labels);
    const struct {
        const char *name, *type, *help;
        uint64_t value;
    } rows[] = {
        {"attriprompt_composition_cache_hits_total", "counter",
         "Text features that the composition cache had.", compositions.hits},
        {"attriprompt_composition_cache_misses_total", "counter",
         "Text features that the composition cache did not have.", compositions.misses},
        {"attriprompt_composition_cache_evictions_total", "counter",
         "Blocks that left the composition cache for others.", compositions.evictions},
        {"attriprompt_composition_cache_bytes", "gauge", "Memory in the composition cache.",
         compositions.bytes},
        {"attriprompt_label_cache_hits_total", "counter",
         "Lists of labels in requests that the label cache had.", labels.hits},
        {"attriprompt_label_cache_misses_total", "counter",
         "Lists of labels in requests that had to be compiled.", labels.misses},
        {"attriprompt_label_cache_evictions_total", "counter",
         "Lists of labels that left the label cache for others.", labels.evictions},
        {"attriprompt_label_cache_bytes", "gauge", "Memory in the label cache.", labels.bytes},
        {"attriprompt_label_cache_entries", "gauge", "Lists of labels in the label cache.",
         labels.entries},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
        exposition_only_count(exposition, rows[i].name, rows[i].type, rows[i].help, rows[i].value);
}

/* ---- Pools ---- */

static void metrics_page_write_pool(const struct service *service, const struct snapshot *pool,
                                    struct exposition *exposition)
{
    char version[24];
    bool is_default = registry_is_default(service->pools, pool->name);
    snprintf(version, sizeof version, "%" PRIu64, pool->version);
    exposition_count(exposition, "attriprompt_pool_info",
                     &(struct exposition_labels){{{"pool", pool->name},
                                                  {"version", version},
                                                  {"default", is_default ? "true" : "false"}}},
                     1);
}

static void metrics_page_write_pools(const struct service *service, struct exposition *exposition)
{
    size_t count;
    struct snapshot **pools = registry_list(service->pools, &count);
    exposition_only_count(exposition, "attriprompt_pools", "gauge", "Pools that requests can name.",
                          count);
    exposition_begin(exposition, "attriprompt_pool_info", "gauge",
                     "1 for the current version of each pool, of the first 32 by name.");
    for (size_t i = 0; i < count; i++) {
        if (i < METRICS_PAGE_MOST_POOLS)
            metrics_page_write_pool(service, pools[i], exposition);
        snapshot_release(pools[i]);
    }
    free(pools);
}

/* ---- The process ---- */

static double metrics_page_cpu_s(void)
{
    struct rusage used;
    if (getrusage(RUSAGE_SELF, &used))
        return 0;
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) +
           (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static uint64_t metrics_page_resident_bytes(void)
{
    unsigned long long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file)
        return 0;
    if (fscanf(file, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(file);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static uint64_t metrics_page_open_files(void)
{
    uint64_t count = 0;
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir))
        count += entry->d_name[0] != '.';
    if (!dir)
        return 0;
    closedir(dir);
    return count - 1; /* the folder itself */
}

static void metrics_page_write_process(const struct service *service, struct exposition *exposition)
{
    const struct engine_info *info = engine_info(service->engine);
    exposition_only_count(exposition, "attriprompt_cpu_limit_cores", "gauge",
                          "Cores that the process may use, by affinity and cgroup.",
                          engine_cores());
    exposition_begin(exposition, "attriprompt_build_info", "gauge", "1, for program and model.");
    exposition_count(
        exposition, "attriprompt_build_info",
        &(struct exposition_labels){
            {{"version", VERSION_TEXT}, {"model", info->name}, {"backend", info->backend}}},
        1);
    exposition_only_number(exposition, "process_cpu_seconds_total", "counter",
                           "Time on processors, of user and system.", metrics_page_cpu_s());
    exposition_only_count(exposition, "process_resident_memory_bytes", "gauge",
                          "Memory that is resident.", metrics_page_resident_bytes());
    exposition_only_count(exposition, "process_open_fds", "gauge", "Open file descriptors.",
                          metrics_page_open_files());
    exposition_only_number(exposition, "process_start_time_seconds", "gauge",
                           "When the process started, since 1970.", service->started_s);
}

enum status metrics_page_write(const struct service *service, struct buf *out, struct fail *why)
{
    struct exposition exposition = {.out = out, .why = why};
    metrics_write(service->metrics, &exposition);
    metrics_page_write_work(service, &exposition);
    metrics_page_write_caches(service, &exposition);
    metrics_page_write_pools(service, &exposition);
    if (service->access_log)
        exposition_only_count(&exposition, "attriprompt_access_log_dropped_total", "counter",
                              "Lines of the access log that nobody took in time.",
                              access_log_dropped(service->access_log));
    metrics_page_write_process(service, &exposition);
    return exposition.status;
}
