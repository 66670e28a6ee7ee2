/* Set-ups: links that are closed as soon as they are up; one at a time, or so many a second. */
#include "relay_load.h"

#include "histogram.h"
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Kinds of failure that are told apart. */
enum { KINDS = 16 };

static struct histogram latencies;
static struct window window;
static struct link *links;
static uint32_t under_way, most_under_way;
static uint64_t all_set_up;

static struct {
    const char *why;
    uint64_t count;
} failures[KINDS];

static void count_failure(const char *why)
{
    size_t kind = 0;
    while (kind < KINDS - 1 && failures[kind].why && strcmp(failures[kind].why, why))
        kind++;
    if (!failures[kind].why && !(failures[kind].why = strdup(why)))
        die("memory for a failure");
    failures[kind].count++;
}

static void finish(struct link *link)
{
    close_link(link);
    under_way--;
}

static void near_failed(struct link *link, const char *why)
{
    count_failure(why);
    finish(link);
}

static void near_established(struct link *link)
{
    uint64_t now = now_ns();
    all_set_up++;
    if (link->started_ns >= window.begin_ns && link->started_ns < window.end_ns)
        histogram_add(&latencies, now - link->started_ns);
    finish(link);
}

static void expire(uint64_t now)
{
    static uint64_t next;
    if (now < next)
        return;
    next = now + SECOND_NS / 10;
    for (uint32_t i = 0; i < options.connections; i++)
        if (links[i].stage != UNUSED && now > links[i].started_ns + (uint64_t)(options.timeout * 1e9))
            near_failed(&links[i], "timed out");
}

/* Starts a set-up that was due at `due_ns`: its time runs from then, also if nobody came to start it. */
static void start(uint64_t due_ns)
{
    uint32_t free = 0;
    while (free < options.connections && links[free].stage != UNUSED)
        free++;
    if (free == options.connections) {
        count_failure("too many under way");
        return;
    }
    if (++under_way > most_under_way)
        most_under_way = under_way;
    open_near(&links[free]);
    if (links[free].stage != UNUSED)
        links[free].started_ns = due_ns;
}

static void run_at_a_rate(void)
{
    uint64_t interval = (uint64_t)(1e9 / options.rate), due = window.first_ns;
    for (uint64_t now = now_ns(); under_way || due < window.end_ns; now = now_ns()) {
        for (; due <= now && due < window.end_ns; due += interval)
            start(due);
        expire(now);
        window_watch(&window, now);
        run_once(due < window.end_ns ? due : now + SECOND_NS / 10);
    }
}

static void run_one_after_another(void)
{
    for (uint64_t now = now_ns(); under_way || now < window.end_ns; now = now_ns()) {
        if (!under_way)
            start(now);
        expire(now);
        window_watch(&window, now);
        if (under_way)
            run_once(now + SECOND_NS / 10);
    }
}

static void print_setups(void)
{
    printf("{\"setups\": %" PRIu64 ", \"total_setups\": %" PRIu64 ", \"seconds\": %.6f, ", latencies.count,
           all_set_up, options.seconds);
    printf("\"rate\": %.1f, \"cpu_seconds\": %.4f, \"total_cpu_seconds\": %.4f, ",
           (double)latencies.count / options.seconds, window.cpu_used, cpu_seconds());
    printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, ", histogram_percentile_us(&latencies, 0.5),
           histogram_percentile_us(&latencies, 0.99), (double)latencies.longest_ns / 1e3);
    printf("\"most_under_way\": %" PRIu32 ", \"far_cut_short\": %zu, \"failures\": {", most_under_way,
           handshakes_cut_short());
    for (size_t kind = 0; kind < KINDS && failures[kind].why; kind++)
        printf("%s\"%s\": %" PRIu64, kind ? ", " : "", failures[kind].why, failures[kind].count);
    printf("}}\n");
}

int run_setups(void)
{
    work = (struct work){.near_established = near_established, .near_failed = near_failed};
    if (options.rate <= 0)
        options.connections = 1;
    if (!(links = calloc(options.connections, sizeof *links)))
        die("memory for the links");
    start_far_side();
    window_open(&window);
    if (options.rate > 0)
        run_at_a_rate();
    else
        run_one_after_another();
    window_watch(&window, now_ns());
    print_setups();
    return 0;
}
