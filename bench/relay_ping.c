/* Pings: on each link one frame under way, there and back; and links that only stand. */
#include "relay_load.h"

#include "histogram.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A whole frame: a length word, 112, and what a send to a registered name of 3 letters would fill. */
enum { PING_BYTES = 64, SEQUENCE_OFFSET = PING_BYTES - 8 };

static struct histogram latencies;
static struct window window;
static uint64_t messages; /* all of them, those outside the window too */
static uint32_t under_way;

static void build_ping(const struct link *link, uint8_t *frame)
{
    memset(frame, 0, PING_BYTES);
    put(frame, 4, PING_BYTES - 4);
    frame[4] = PASS_THROUGH;
    put(frame + SEQUENCE_OFFSET - 4, 4, link->number);
    put(frame + SEQUENCE_OFFSET, 8, link->sequence);
}

static void send_ping(struct link *link, uint64_t now)
{
    uint8_t frame[PING_BYTES];
    link->sequence++;
    link->started_ns = now;
    build_ping(link, frame);
    send_whole(link, frame, sizeof frame);
}

static void count_ping(struct link *link, uint64_t now)
{
    messages++;
    if (now < window.begin_ns || now >= window.end_ns)
        return;
    link->counted++;
    histogram_add(&latencies, now - link->started_ns);
}

/* Held links carry so many messages each, all others as many as there is time for. */
static bool goes_on(const struct link *link, uint64_t now)
{
    return options.messages ? link->sequence < options.messages : now < window.end_ns;
}

static void near_ready(struct link *link, uint32_t events)
{
    (void)events;
    uint8_t sent[PING_BYTES];
    ssize_t got = receive(link, link->input + link->have, sizeof link->input - link->have);
    if (got == 0)
        give_up("near link %" PRIu32 " was closed while it worked", link->number);
    link->have += got > 0 ? (size_t)got : 0;
    if (link->have < PING_BYTES)
        return;
    uint64_t now = now_ns();
    build_ping(link, sent);
    if (link->have > PING_BYTES || memcmp(link->input, sent, PING_BYTES))
        give_up("near link %" PRIu32 ": ping %" PRIu64 " came back changed", link->number, link->sequence);
    link->have = 0;
    count_ping(link, now);
    if (goes_on(link, now))
        send_ping(link, now);
    else
        under_way--;
}

static void far_ready(struct link *link, uint32_t events)
{
    (void)events;
    ssize_t got = receive(link, link->input, sizeof link->input);
    if (got > 0)
        send_whole(link, link->input, (size_t)got);
    else if (got == 0)
        give_up("far link %" PRIu32 " was closed while it worked", link->number);
}

static void print_pings(const struct link *links)
{
    uint64_t *counts = calloc(options.connections, sizeof *counts);
    if (!counts)
        die("memory for the counts");
    for (uint32_t i = 0; i < options.connections; i++)
        counts[i] = links[i].counted;
    printf("{\"messages\": %" PRIu64 ", \"total_messages\": %" PRIu64 ", \"seconds\": %.6f, ", latencies.count,
           messages, options.seconds);
    printf("\"rate\": %.1f, \"cpu_seconds\": %.4f, \"total_cpu_seconds\": %.4f, ",
           (double)latencies.count / options.seconds, window.cpu_used, cpu_seconds());
    printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f, ", histogram_percentile_us(&latencies, 0.5),
           histogram_percentile_us(&latencies, 0.99), (double)latencies.longest_ns / 1e3);
    print_spread(counts, options.connections);
    printf("}\n");
}

static void send_first(struct link *links)
{
    under_way = options.connections;
    for (uint32_t i = 0; i < options.connections; i++)
        send_ping(&links[i], now_ns());
}

int run_pings(void)
{
    work = (struct work){.near_ready = near_ready, .far_ready = far_ready};
    start_far_side();
    struct link *links = open_all();
    window_open(&window);
    send_first(links);
    while (under_way || !window.ended) {
        run_once(window.begun ? window.end_ns : window.begin_ns);
        window_watch(&window, now_ns());
    }
    print_pings(links);
    return 0;
}

/* ---- links that only stand ---- */

static uint32_t count_open(const struct link *links)
{
    uint32_t open = 0;
    uint8_t byte;
    for (uint32_t i = 0; i < options.connections; i++)
        open += recv(links[i].fd, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
    return open;
}

int hold_links(void)
{
    if (options.messages)
        work = (struct work){.near_ready = near_ready, .far_ready = far_ready};
    start_far_side();
    uint64_t start = now_ns();
    struct link *links = open_all();
    if (options.messages)
        send_first(links);
    while (under_way)
        run_once(now_ns() + SECOND_NS);
    alarm(0);
    printf("{\"open\": %" PRIu32 ", \"seconds\": %.3f}\n", options.connections, (double)(now_ns() - start) / 1e9);
    fflush(stdout);
    for (char drop[64]; read(STDIN_FILENO, drop, sizeof drop) > 0;)
        ;
    printf("{\"still_open\": %" PRIu32 "}\n", count_open(links));
    return 0;
}
