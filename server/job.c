#include "server/job.h"

#include <stdlib.h>

#include "server/clock.h"
#include "server/completions.h"

void job_init(struct job *job, const struct job_kind *kind)
{
    *job = (struct job){.kind = kind};
}

void job_finish(struct job *job)
{
    for (size_t i = 0; job->compositions && i < job->rows; i++)
        engine_composition_destroy(job->compositions[i]);
    free(job->compositions);
    free(job->pixels);
    free(job->features);
    reply_finish(&job->reply);
}

void job_set_deadline(struct job *job, uint64_t deadline_us, const struct job_tools *tools)
{
    atomic_store(&job->deadline_us, deadline_us);
    atomic_store(&tools->completions->deadlines_moved, true);
    tools->completions->wake(tools->completions->argument);
}

void job_show_life(const struct job_tools *tools)
{
    atomic_store_explicit(tools->sign_us, clock_now_us(), memory_order_relaxed);
}
