#include "server/completions.h"

void completions_init(struct completions *completions, void (*wake)(void *), void *argument)
{
    *completions = (struct completions){.wake = wake, .argument = argument};
    pthread_mutex_init(&completions->lock, NULL);
}

void completions_finish(struct completions *completions)
{
    pthread_mutex_destroy(&completions->lock);
}

void completions_push(struct completions *completions, struct job *job)
{
    job->previous = job->next = NULL;
    pthread_mutex_lock(&completions->lock);
    if (completions->last)
        completions->last->next = job;
    else
        completions->first = job;
    completions->last = job;
    pthread_mutex_unlock(&completions->lock);
    completions->wake(completions->argument);
}

struct job *completions_take(struct completions *completions)
{
    pthread_mutex_lock(&completions->lock);
    struct job *first = completions->first;
    completions->first = completions->last = NULL;
    pthread_mutex_unlock(&completions->lock);
    return first;
}
