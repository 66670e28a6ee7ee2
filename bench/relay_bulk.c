/* Bulk: frames one way, from the near side to the far side, as fast as they go. */
#include "relay_load.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/* The sender's bytes: whole frames, at least this much, sent round and round. */
enum { PAYLOAD_LEAST_BYTES = 1 << 20 };
/* What one send or one recv moves at most: then the next link has its turn. */
enum { TURN_BYTES = 256 << 10 };

static struct window window;
static uint8_t *payload;
static size_t payload_bytes, frame_bytes;
static uint64_t sent_total;
static uint32_t near_closed;
/* Of the far side, which may run in another thread: by link, inside the window; and all. */
static _Atomic uint64_t *received, received_total;

static void build_payload(void)
{
    frame_bytes = 4 + (size_t)options.frame;
    size_t frames = (PAYLOAD_LEAST_BYTES + frame_bytes - 1) / frame_bytes;
    payload_bytes = frames * frame_bytes;
    payload = malloc(payload_bytes);
    received = calloc(options.connections, sizeof *received);
    if (!payload || !received)
        die("memory for the frames");
    for (size_t i = 0; i < payload_bytes; i++)
        payload[i] = (uint8_t)(i * 2654435761u >> 24);
    for (size_t i = 0; i < frames; i++) {
        put(payload + i * frame_bytes, 4, options.frame);
        payload[i * frame_bytes + 4] = PASS_THROUGH;
    }
}

/* How much to send now: after the end no more than what completes the frame. */
static size_t next_bytes(const struct link *link)
{
    size_t left = payload_bytes - link->offset;
    if (now_ns() >= window.end_ns)
        left = (frame_bytes - link->offset % frame_bytes) % frame_bytes;
    return left < TURN_BYTES ? left : TURN_BYTES;
}

static void near_ready(struct link *link, uint32_t events)
{
    uint8_t byte;
    if (events & ~(uint32_t)EPOLLOUT) {
        if (link->watches_output || receive(link, &byte, 1) != 0)
            give_up("near link %" PRIu32 " was closed, or answered, while it worked", link->number);
        near_closed++;
        close_link(link);
        return;
    }
    size_t length = next_bytes(link);
    if (!length) {
        shutdown(link->fd, SHUT_WR);
        watch(link, false);
        return;
    }
    ssize_t sent = send(link->fd, payload + link->offset, length, MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN)
        die("send");
    if (sent > 0) {
        sent_total += (uint64_t)sent;
        link->offset = (link->offset + (size_t)sent) % payload_bytes;
    }
}

static void far_ready(struct link *link, uint32_t events)
{
    (void)events;
    /* Dropped by the kernel, not copied to us: the two ends share a core, and must not be what limits. */
    ssize_t got = recv(link->fd, NULL, TURN_BYTES, MSG_TRUNC);
    if (got < 0 && errno != EAGAIN)
        die("recv");
    if (got == 0) {
        close_link(link);
        return;
    }
    uint64_t now = now_ns();
    if (got < 0)
        return;
    received_total += (uint64_t)got;
    if (now >= window.begin_ns && now < window.end_ns)
        received[link->number] += (uint64_t)got;
}

static void print_bulk(void)
{
    uint64_t *counts = calloc(options.connections, sizeof *counts), bytes = 0;
    if (!counts)
        die("memory for the counts");
    for (uint32_t i = 0; i < options.connections; i++)
        bytes += counts[i] = received[i];
    printf("{\"bytes\": %" PRIu64 ", \"total_bytes\": %" PRIu64 ", \"seconds\": %.6f, ", bytes,
           (uint64_t)received_total, options.seconds);
    printf("\"rate\": %.1f, \"cpu_seconds\": %.4f, \"total_cpu_seconds\": %.4f, ", (double)bytes / options.seconds,
           window.cpu_used, cpu_seconds());
    print_spread(counts, options.connections);
    printf("}\n");
}

int run_bulk(void)
{
    work = (struct work){.near_ready = near_ready, .far_ready = far_ready};
    build_payload();
    start_far_side();
    struct link *links = open_all();
    window_open(&window);
    for (uint32_t i = 0; i < options.connections; i++)
        watch(&links[i], true);
    while (near_closed < options.connections) {
        run_once(window.begun ? window.end_ns : window.begin_ns);
        window_watch(&window, now_ns());
    }
    if (sent_total != received_total)
        give_up("%" PRIu64 " bytes sent, %" PRIu64 " received", sent_total, (uint64_t)received_total);
    print_bulk();
    return 0;
}
