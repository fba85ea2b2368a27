/*
 * Random schedules of pushes, workers, removals and a clock, against a model of what batcher.h
 * promises. The model keeps jobs in one flat array and finds out everything by looking at all.
 *
 * How long a job can be passed over, in grants (calls of batcher_next that give something) to
 * others. In a line, n jobs of its class are before a job when it counts: a normal one from the
 * moment it comes, one of low priority once it is out of patience. The classes take turns from then
 * on, so at most p = 2n + 1 others are taken from that line before it.
 *
 *   to answer  p, for nothing else is done before answers.
 *   waiting    Those p are prepared, may be run and answered: 3p. Those that are ready (R) or being
 *              prepared (P) then, run and answered: 2(R + P). Those to be answered (A) or in a pass
 *              (Q), answered: A + Q. Nobody else can get there.
 *   ready      From the end of its delay on, those that came after it was ready get nothing before
 *              it. Those that waited (W) get 3 grants each, the others as above:
 *              3W + 2(R + P) + A + Q, whatever its class.
 */
#include "tests/unit/unit.h"

#include "server/batcher.h"

enum {
    SCHEDULES = 3000,
    STEPS = 400,
    MOST_JOBS = 48,
    MOST_WORKERS = 4,
    MOST_DRAIN_STEPS = 10000,
    UNLIMITED = 1 << 30
};

enum place { OUTSIDE, WAITING, READY, TO_ANSWER, PREPARING, RUNNING, ANSWERING, PLACES };

struct slot {
    struct job job;
    enum place place;
    uint64_t since_us; /* in this place */
    size_t order;      /* of those in a line, who came first */
    size_t worker;     /* of one that a worker holds */
    size_t
        grants_left; /* to others, before it must get its own; UNLIMITED while it does not count */
};

struct schedule {
    uint32_t random;
    uint64_t now_us;
    size_t next_order;
    struct batcher batcher;
    struct slot slots[MOST_JOBS];
    bool low_had_turn[PLACES];
    size_t workers;
    enum place workers_do[MOST_WORKERS]; /* OUTSIDE: nothing */
};

static size_t draw(struct schedule *s, size_t below)
{
    return unit_random(&s->random) % below;
}

/* ---- The model ---- */

static size_t weight(const struct slot *slot)
{
    return slot->job.rows ? slot->job.rows : 1;
}

static size_t count_in(const struct schedule *s, enum place place)
{
    size_t count = 0;
    for (size_t i = 0; i < MOST_JOBS; i++)
        count += s->slots[i].place == place;
    return count;
}

static size_t rows_in(const struct schedule *s, enum place place)
{
    size_t rows = 0;
    for (size_t i = 0; i < MOST_JOBS; i++)
        rows += s->slots[i].place == place ? weight(&s->slots[i]) : 0;
    return rows;
}

static size_t bytes_in(const struct schedule *s, enum place place)
{
    size_t bytes = 0;
    for (size_t i = 0; i < MOST_JOBS; i++)
        bytes += s->slots[i].place == place ? s->slots[i].job.buffered_bytes : 0;
    return bytes;
}

static struct slot *first_of_class(struct schedule *s, enum place place, bool low)
{
    struct slot *first = NULL;
    for (struct slot *slot = s->slots; slot < s->slots + MOST_JOBS; slot++)
        if (slot->place == place && slot->job.low_priority == low &&
            (!first || slot->order < first->order))
            first = slot;
    return first;
}

static bool is_out_of_patience(const struct schedule *s, const struct slot *slot)
{
    return slot->job.low_priority && s->now_us - slot->since_us >= BATCHER_LOW_PATIENCE_US;
}

static struct slot *whose_turn(struct schedule *s, enum place place)
{
    struct slot *normal = first_of_class(s, place, false), *low = first_of_class(s, place, true);
    if (normal && low)
        return is_out_of_patience(s, low) && !s->low_had_turn[place] ? low : normal;
    return normal ? normal : low;
}

static uint64_t first_ready_us(const struct schedule *s)
{
    uint64_t first = UINT64_MAX;
    for (size_t i = 0; i < MOST_JOBS; i++)
        if (s->slots[i].place == READY && s->slots[i].since_us < first)
            first = s->slots[i].since_us;
    return first;
}

static void enter(struct schedule *s, struct slot *slot, enum place place)
{
    slot->place = place;
    slot->since_us = s->now_us;
    slot->order = s->next_order++;
    slot->grants_left = UNLIMITED;
}

static void take(struct schedule *s, struct slot *slot, enum place place, size_t worker)
{
    s->low_had_turn[slot->place] = slot->job.low_priority;
    slot->place = place;
    slot->worker = worker;
    s->workers_do[worker] = place;
}

/* What must happen next: moves the jobs and tells them in their order. */
static enum batcher_action expect(struct schedule *s, size_t worker, struct slot **out,
                                  size_t *out_count)
{
    const struct batcher_limits *limits = &s->batcher.limits;
    struct slot *waiting = whose_turn(s, WAITING), *slot = whose_turn(s, TO_ANSWER);
    uint64_t ready_us = first_ready_us(s);
    bool full = rows_in(s, READY) >= limits->max_batch_rows;
    bool none = ready_us == UINT64_MAX;
    bool held = !none && !full && s->now_us < ready_us + limits->batch_delay_us;
    *out_count = 0;
    if (slot) {
        out[(*out_count)++] = slot;
        take(s, slot, ANSWERING, worker);
        return BATCHER_ANSWER;
    }
    if (waiting && !full && (none || held || waiting->since_us <= ready_us)) {
        out[(*out_count)++] = waiting;
        take(s, waiting, PREPARING, worker);
        return BATCHER_PREPARE;
    }
    if (none || held)
        return BATCHER_IDLE;
    size_t rows = 0;
    while ((slot = whose_turn(s, READY)) &&
           (!rows || rows + slot->job.rows <= limits->max_batch_rows)) {
        rows += slot->job.rows;
        out[(*out_count)++] = slot;
        take(s, slot, RUNNING, worker);
    }
    return BATCHER_RUN;
}

/* ---- How long they wait ---- */

static size_t grants_to_others(const struct schedule *s, const struct slot *slot)
{
    size_t before = 0, waiting = 0;
    size_t passing = 2 * (count_in(s, READY) + count_in(s, PREPARING)) + count_in(s, TO_ANSWER) +
                     count_in(s, RUNNING);
    for (const struct slot *other = s->slots; other < s->slots + MOST_JOBS; other++) {
        before += other->place == slot->place && other->order < slot->order &&
                  other->job.low_priority == slot->job.low_priority;
        waiting += other->place == WAITING && other->since_us <= slot->since_us;
    }
    if (slot->place == TO_ANSWER)
        return 2 * before + 1;
    if (slot->place == WAITING)
        return 3 * (2 * before + 1) + passing;
    return 3 * waiting + passing - 2; /* but not itself */
}

/* Before anything is granted. */
static void set_limits_of_patience(struct schedule *s)
{
    for (struct slot *slot = s->slots; slot < s->slots + MOST_JOBS; slot++) {
        bool counts = slot->place == READY
                          ? s->now_us >= slot->since_us + s->batcher.limits.batch_delay_us
                          : !slot->job.low_priority || is_out_of_patience(s, slot);
        bool in_line = slot->place == WAITING || slot->place == READY || slot->place == TO_ANSWER;
        if (in_line && counts && slot->grants_left == UNLIMITED)
            slot->grants_left = grants_to_others(s, slot);
    }
}

static void note_grant(struct schedule *s)
{
    for (struct slot *slot = s->slots; slot < s->slots + MOST_JOBS; slot++) {
        bool in_line = slot->place == WAITING || slot->place == READY || slot->place == TO_ANSWER;
        if (!in_line || slot->grants_left == UNLIMITED)
            continue;
        if (!slot->grants_left)
            fail_msg("a job is passed over too often in line %d", slot->place);
        slot->grants_left--;
    }
}

/* ---- Checks after every step ---- */

static size_t check_list(const struct schedule *s, const struct batcher_list *list,
                         enum place place, bool low)
{
    static const enum job_line lines[] = {
        [WAITING] = JOB_WAITING, [READY] = JOB_READY, [TO_ANSWER] = JOB_TO_ANSWER};
    size_t jobs = 0, rows = 0, bytes = 0, order = 0;
    const struct job *previous = NULL;
    for (const struct job *job = list->first; job; previous = job, job = job->next) {
        const struct slot *slot = (const struct slot *)job;
        assert_in_range(slot - s->slots, 0, MOST_JOBS - 1);
        assert_int_equal(slot->place, place);
        assert_int_equal(job->line, lines[place]);
        assert_int_equal(job->low_priority, low);
        assert_ptr_equal(job->previous, previous);
        assert_true(!previous || slot->order > order);
        order = slot->order;
        jobs++;
        rows += weight(slot);
        bytes += job->buffered_bytes;
    }
    assert_ptr_equal(list->last, previous);
    assert_int_equal(list->jobs, jobs);
    assert_int_equal(list->rows, rows);
    assert_int_equal(list->bytes, bytes);
    return jobs;
}

static void check_places(const struct schedule *s)
{
    const struct batcher_line *lines[] = {[WAITING] = &s->batcher.waiting,
                                          [READY] = &s->batcher.ready,
                                          [TO_ANSWER] = &s->batcher.to_answer};
    for (enum place place = WAITING; place <= TO_ANSWER; place++)
        assert_int_equal(check_list(s, &lines[place]->normal, place, false) +
                             check_list(s, &lines[place]->low, place, true),
                         count_in(s, place));
    for (const struct slot *slot = s->slots; slot < s->slots + MOST_JOBS; slot++)
        if (slot->place == OUTSIDE || slot->place > TO_ANSWER)
            assert_int_equal(slot->job.line, JOB_IN_NO_LINE);
}

static void check_wake(const struct schedule *s)
{
    const struct batcher_limits *limits = &s->batcher.limits;
    uint64_t wake_us = batcher_wake_us(&s->batcher);
    bool fill = rows_in(s, READY) >= limits->max_batch_rows;
    if (!count_in(s, READY) || fill || !limits->batch_delay_us)
        assert_int_equal(wake_us, UINT64_MAX);
    else
        assert_true(batcher_has_work(&s->batcher, wake_us));
    if (batcher_has_work(&s->batcher, s->now_us))
        return;
    assert_true(wake_us > s->now_us);
    assert_false(batcher_has_work(&s->batcher, wake_us - 1));
}

/* ---- Steps ---- */

static void push(struct schedule *s)
{
    struct fail why;
    struct slot *slot = s->slots;
    const struct batcher_limits *limits = &s->batcher.limits;
    while (slot < s->slots + MOST_JOBS && slot->place != OUTSIDE)
        slot++;
    if (slot == s->slots + MOST_JOBS)
        return;
    *slot = (struct slot){.job = {.low_priority = draw(s, 2), .buffered_bytes = draw(s, 30)}};
    size_t rows = rows_in(s, WAITING) + rows_in(s, READY);
    size_t bytes = bytes_in(s, WAITING) + bytes_in(s, READY) + slot->job.buffered_bytes;
    enum status status = batcher_push(&s->batcher, &slot->job, s->now_us, &why);
    size_t max_rows = slot->job.low_priority ? (limits->max_rows + 1) / 2 : limits->max_rows;
    if (rows >= max_rows) {
        unit_assert_fails(status, STATUS_LIMIT, why, "pictures");
    } else if (rows && bytes > limits->max_bytes) {
        unit_assert_fails(status, STATUS_LIMIT, why, "bytes of bodies");
    } else {
        unit_assert_ok(status, why);
        enter(s, slot, WAITING);
        for (struct slot *ready = s->slots; ready < s->slots + MOST_JOBS; ready++)
            if (ready->place == READY && ready->since_us == s->now_us &&
                ready->grants_left != UNLIMITED)
                ready->grants_left += 3; /* both came in one microsecond: who was first? */
    }
}

static void ask(struct schedule *s, size_t worker)
{
    struct slot *expected[MOST_JOBS];
    struct job *job = NULL;
    size_t count, rows = 99, expected_rows = 0;
    set_limits_of_patience(s);
    bool has_work = batcher_has_work(&s->batcher, s->now_us);
    enum batcher_action action = batcher_next(&s->batcher, s->now_us, &job, &rows);
    assert_int_equal(action, expect(s, worker, expected, &count));
    assert_int_equal(has_work, action != BATCHER_IDLE);
    for (size_t i = 0; i < count; i++, job = job->next) {
        assert_ptr_equal(job, &expected[i]->job);
        expected_rows += action == BATCHER_RUN ? job->rows : 0;
    }
    assert_true(!count || !job);
    assert_int_equal(rows, expected_rows);
    assert_true(count < 2 || rows <= s->batcher.limits.max_batch_rows);
    if (count)
        note_grant(s);
}

/* Of what the worker holds. */
static void finish_job(struct schedule *s, struct slot *slot, bool alone)
{
    if (slot->place == PREPARING) {
        slot->job.rows = draw(s, s->batcher.limits.max_batch_rows + 3);
        if (!draw(s, 8)) /* the body says so */
            slot->job.low_priority = !slot->job.low_priority;
        enter(s, slot, slot->job.rows ? READY : OUTSIDE);
        if (slot->place == READY)
            batcher_push_ready(&s->batcher, &slot->job, s->now_us);
    } else if (slot->place == RUNNING && (!alone || draw(s, 2))) {
        enter(s, slot, TO_ANSWER);
        batcher_push_to_answer(&s->batcher, &slot->job, s->now_us);
    } else {
        enter(s, slot, OUTSIDE);
    }
}

static void finish(struct schedule *s, size_t worker)
{
    size_t held = 0;
    for (struct slot *slot = s->slots; slot < s->slots + MOST_JOBS; slot++)
        held += slot->place >= PREPARING && slot->worker == worker;
    for (struct slot *slot = s->slots; slot < s->slots + MOST_JOBS; slot++)
        if (slot->place >= PREPARING && slot->worker == worker)
            finish_job(s, slot, held == 1);
    s->workers_do[worker] = OUTSIDE;
}

static void withdraw(struct schedule *s)
{
    struct slot *slot = &s->slots[draw(s, MOST_JOBS)];
    bool here = slot->place == WAITING || slot->place == READY || slot->place == TO_ANSWER;
    assert_int_equal(batcher_remove(&s->batcher, &slot->job), here);
    if (here)
        slot->place = OUTSIDE;
}

static void let_time_pass(struct schedule *s)
{
    uint64_t wake_us = batcher_wake_us(&s->batcher);
    switch (draw(s, 8)) {
    case 0:
        s->now_us += draw(s, BATCHER_LOW_PATIENCE_US + 1);
        break;
    case 1:
        s->now_us += BATCHER_LOW_PATIENCE_US / 3;
        break;
    case 2:
    case 3:
        if (wake_us != UINT64_MAX && wake_us > s->now_us)
            s->now_us = wake_us - draw(s, 2);
        break;
    default:
        s->now_us += draw(s, 4);
    }
}

static void work(struct schedule *s)
{
    size_t worker = draw(s, s->workers);
    if (s->workers_do[worker] == OUTSIDE)
        ask(s, worker);
    else
        finish(s, worker);
}

/* pushing: of 16, how many steps bring a job. */
static void step(struct schedule *s, size_t pushing)
{
    size_t kind = draw(s, 16);
    if (kind < pushing)
        push(s);
    else if (kind < 14)
        work(s);
    else if (kind == 14)
        let_time_pass(s);
    else if (!draw(s, 3))
        withdraw(s);
    check_places(s);
    check_wake(s);
}

/* ---- Tests ---- */

static void begin(struct schedule *s, uint32_t seed)
{
    *s = (struct schedule){.random = seed};
    static const uint64_t delays_us[] = {0, 0, 3, 1000, 3 * (uint64_t)BATCHER_LOW_PATIENCE_US};
    const struct batcher_limits limits = {
        .max_rows = 1 + draw(s, 24),
        .max_bytes = draw(s, 3) ? 1 + draw(s, 200) : SIZE_MAX,
        .max_batch_rows = 1 + draw(s, 6),
        .batch_delay_us = delays_us[draw(s, UNIT_COUNT(delays_us))],
    };
    s->workers = 1 + draw(s, MOST_WORKERS);
    s->now_us = draw(s, 5);
    batcher_init(&s->batcher, &limits);
}

/* Everything that is here comes to its end when nothing new arrives. */
static void drain(struct schedule *s)
{
    for (size_t i = 0; count_in(s, OUTSIDE) < MOST_JOBS; i++) {
        assert_true(i < MOST_DRAIN_STEPS);
        work(s);
        uint64_t wake_us = batcher_wake_us(&s->batcher);
        if (!batcher_has_work(&s->batcher, s->now_us) && wake_us != UINT64_MAX)
            s->now_us = wake_us;
        check_places(s);
    }
    assert_false(batcher_has_work(&s->batcher, s->now_us));
    assert_int_equal(batcher_wake_us(&s->batcher), UINT64_MAX);
}

static void test_random_schedules_keep_the_promises(void **state)
{
    (void)state;
    static struct schedule s;
    for (uint32_t seed = 1; seed <= SCHEDULES; seed++) {
        begin(&s, seed * 2654435761u);
        size_t pushing = 2 + draw(&s, 8);
        for (size_t i = 0; i < STEPS; i++)
            step(&s, pushing);
        drain(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_schedules_keep_the_promises),
    };
    return cmocka_run_group_tests_name("batcher_schedule", tests, NULL, NULL);
}
