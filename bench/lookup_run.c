/* Lookups: how they are made, one at a time or many, and what is counted. */
#include "lookup_load.h"
#include "histogram.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
           + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static uint32_t random_below(uint32_t limit)
{
    static uint64_t state;
    if (!state)
        state = options.seed;
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(((state >> 32) * limit) >> 32);
}

/* ---- what is counted ---- */

enum { PORT2_REPLY = 119 };

enum failure {
    NO_SOCKET, NOT_CONNECTED, NOT_SENT, RESET, CUT_SHORT, NOT_FOUND, WRONG_REPLY, TIMED_OUT, FAILURES,
};

static const char *const failure_names[FAILURES] = {
    "no_socket", "not_connected", "not_sent", "reset", "cut_short", "not_found", "wrong_reply", "timed_out",
};

static struct histogram latencies;

static struct {
    uint64_t failures[FAILURES];
    uint64_t begin_ns, end_ns;
    double cpu_at_begin, cpu_used;
    bool begun, ended;
    uint32_t next_in_sweep;
    bool sweeping;
} run;

static void begin_run(bool sweeping)
{
    uint64_t now = now_ns();
    run.sweeping = sweeping;
    run.begin_ns = now + (sweeping ? 0 : (uint64_t)(options.warm * 1e9));
    run.end_ns = sweeping ? UINT64_MAX : run.begin_ns + (uint64_t)(options.seconds * 1e9);
}

/* Takes the CPU time at both ends of the measured time; to be called about once a turn of the loop. */
static void watch_time(uint64_t now)
{
    if (!run.begun && now >= run.begin_ns) {
        run.begun = true;
        run.cpu_at_begin = cpu_seconds();
    }
    if (!run.ended && now >= run.end_ns) {
        run.ended = true;
        run.cpu_used = cpu_seconds() - run.cpu_at_begin;
    }
}

static bool wants_more(uint64_t now)
{
    return run.sweeping ? run.next_in_sweep < options.count : now < run.end_ns;
}

static const struct node *next_node(void)
{
    return &nodes[run.sweeping ? run.next_in_sweep++ : random_below(options.count)];
}

static void count_success(uint64_t started, uint64_t now)
{
    if (now < run.begin_ns || now >= run.end_ns)
        return;
    histogram_add(&latencies, now - started);
}

static enum failure failure_of_errno(void)
{
    if (errno == ECONNRESET || errno == EPIPE)
        return RESET;
    return errno == EAGAIN || errno == EINPROGRESS || errno == ETIMEDOUT ? TIMED_OUT : NOT_CONNECTED;
}

/* FAILURES if the reply is right, else what is wrong with it. */
static enum failure check_reply(const struct node *node, const uint8_t *reply, size_t length)
{
    if (length == 2 && reply[0] == PORT2_REPLY && reply[1] != 0)
        return NOT_FOUND;
    if (length < REPLY_FIXED_BYTES)
        return CUT_SHORT;
    bool right = length == REPLY_FIXED_BYTES + (size_t)node->name_length + 2 && reply[0] == PORT2_REPLY
                 && reply[1] == 0 && get16(reply + 2) == node->port && get16(reply + 10) == node->name_length
                 && !memcmp(reply + REPLY_FIXED_BYTES, node->request + NAME_OFFSET, node->name_length);
    return right ? FAILURES : WRONG_REPLY;
}

static void count_reply(const struct node *node, const uint8_t *reply, size_t length, uint64_t started)
{
    enum failure failure = check_reply(node, reply, length);
    if (failure == FAILURES)
        count_success(started, now_ns());
    else
        run.failures[failure]++;
}

static void print_run(void)
{
    uint64_t end = run.sweeping ? now_ns() : run.end_ns;
    double seconds = (double)(end - run.begin_ns) / 1e9;
    double cpu = run.ended ? run.cpu_used : cpu_seconds() - run.cpu_at_begin;
    printf("{\"lookups\": %" PRIu64 ", \"seconds\": %.6f, \"rate\": %.1f, \"cpu_seconds\": %.4f", latencies.count,
           seconds, (double)latencies.count / seconds, cpu);
    printf(", \"p50_us\": %.1f, \"p90_us\": %.1f, \"p99_us\": %.1f, \"max_us\": %.1f",
           histogram_percentile_us(&latencies, 0.5), histogram_percentile_us(&latencies, 0.9),
           histogram_percentile_us(&latencies, 0.99), (double)latencies.longest_ns / 1e3);
    printf(", \"failures\": {");
    const char *comma = "";
    for (int kind = 0; kind < FAILURES; kind++)
        if (run.failures[kind]) {
            printf("%s\"%s\": %" PRIu64, comma, failure_names[kind], run.failures[kind]);
            comma = ", ";
        }
    printf("}}\n");
}

/* ---- one at a time: blocking calls, as a client that makes one lookup would ---- */

static ssize_t read_to_end(int fd, uint8_t *reply)
{
    size_t length = 0;
    while (length < MESSAGE_LIMIT) {
        ssize_t got = recv(fd, reply + length, MESSAGE_LIMIT - length, 0);
        if (got <= 0)
            return got < 0 ? -1 : (ssize_t)length;
        length += (size_t)got;
    }
    return (ssize_t)length;
}

static void lookup_blocking(const struct node *node)
{
    uint8_t reply[MESSAGE_LIMIT];
    uint64_t started = now_ns();
    int fd = open_socket(0);
    if (fd < 0) {
        run.failures[NO_SOCKET]++;
        return;
    }
    limit_waits(fd);
    ssize_t length;
    if (connect_loopback(fd) < 0)
        run.failures[errno == EINPROGRESS ? TIMED_OUT : NOT_CONNECTED]++;
    else if (send(fd, node->request, node->request_length, MSG_NOSIGNAL) != node->request_length)
        run.failures[NOT_SENT]++;
    else if ((length = read_to_end(fd, reply)) < 0)
        run.failures[failure_of_errno()]++;
    else
        count_reply(node, reply, (size_t)length, started);
    close(fd);
}

static void run_one_at_a_time(void)
{
    for (uint64_t now = now_ns(); wants_more(now); now = now_ns()) {
        watch_time(now);
        lookup_blocking(next_node());
    }
    watch_time(now_ns());
}

/* ---- many at a time: one epoll ---- */

struct slot {
    int fd; /* -1: no lookup under way */
    bool sent;
    size_t length;
    uint64_t started;
    const struct node *node;
    uint8_t reply[MESSAGE_LIMIT];
};

static int epoll_fd;
static uint32_t slots_in_use;

static void finish(struct slot *slot)
{
    close(slot->fd);
    slot->fd = -1;
    slots_in_use--;
}

static void fail(struct slot *slot, enum failure failure)
{
    run.failures[failure]++;
    finish(slot);
}

static void watch(struct slot *slot, int operation)
{
    struct epoll_event event = {.data.ptr = slot, .events = slot->sent ? EPOLLIN | EPOLLRDHUP : EPOLLOUT};
    if (epoll_ctl(epoll_fd, operation, slot->fd, &event) < 0)
        die("epoll_ctl");
}

/* On loopback the handshake is usually over when connect() returns, so the request goes out at once. */
static bool try_send(struct slot *slot)
{
    ssize_t sent = send(slot->fd, slot->node->request, slot->node->request_length, MSG_NOSIGNAL);
    slot->sent = sent == slot->node->request_length;
    return slot->sent || (sent < 0 && errno == EAGAIN);
}

static void start(struct slot *slot)
{
    slot->node = next_node();
    slot->length = 0;
    slot->started = now_ns();
    slot->fd = open_socket(SOCK_NONBLOCK);
    if (slot->fd < 0) {
        run.failures[NO_SOCKET]++;
        return;
    }
    slots_in_use++;
    if (connect_loopback(slot->fd) < 0 && errno != EINPROGRESS)
        fail(slot, NOT_CONNECTED);
    else if (!try_send(slot))
        fail(slot, errno == ECONNREFUSED ? NOT_CONNECTED : NOT_SENT);
    else
        watch(slot, EPOLL_CTL_ADD);
}

/* A peer that is seen to have closed (EPOLLRDHUP) has nothing after these bytes: no second recv. */
static void receive(struct slot *slot, uint32_t events)
{
    ssize_t got = recv(slot->fd, slot->reply + slot->length, MESSAGE_LIMIT - slot->length, 0);
    if (got < 0) {
        if (errno != EAGAIN)
            fail(slot, failure_of_errno());
        return;
    }
    slot->length += (size_t)got;
    bool full = slot->length == MESSAGE_LIMIT;
    if (got > 0 && !(events & EPOLLRDHUP) && !full)
        return;
    count_reply(slot->node, slot->reply, slot->length, slot->started);
    finish(slot);
}

static void advance(struct slot *slot, uint32_t events)
{
    if (slot->sent) {
        receive(slot, events);
    } else if (!try_send(slot)) {
        fail(slot, failure_of_errno());
    } else if (slot->sent) {
        watch(slot, EPOLL_CTL_MOD);
    }
}

static void expire(struct slot *slots, uint64_t now)
{
    static uint64_t next;
    if (now < next)
        return;
    next = now + SECOND_NS / 10;
    for (uint32_t i = 0; i < options.concurrency; i++)
        if (slots[i].fd >= 0 && now > slots[i].started + (uint64_t)(options.timeout * 1e9))
            fail(&slots[i], TIMED_OUT);
}

static void start_idle(struct slot *slots)
{
    for (uint32_t i = 0; i < options.concurrency && wants_more(now_ns()); i++)
        if (slots[i].fd < 0)
            start(&slots[i]);
}

static void run_many_at_a_time(void)
{
    struct epoll_event events[256];
    struct slot *slots = calloc(options.concurrency, sizeof *slots);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (!slots || epoll_fd < 0)
        die("epoll");
    for (uint32_t i = 0; i < options.concurrency; i++)
        slots[i].fd = -1;
    for (uint64_t now = now_ns(); slots_in_use || wants_more(now); now = now_ns()) {
        watch_time(now);
        expire(slots, now);
        if (slots_in_use < options.concurrency && wants_more(now))
            start_idle(slots);
        /* A lookup that failed to start is tried again after this wait, so failures cannot spin. */
        int ready = epoll_wait(epoll_fd, events, 256, slots_in_use < options.concurrency ? 1 : 100);
        for (int i = 0; i < ready; i++) {
            struct slot *slot = events[i].data.ptr;
            advance(slot, events[i].events);
            if (slot->fd < 0 && wants_more(now_ns()))
                start(slot);
        }
    }
    watch_time(now_ns());
}

int look_up(bool sweeping)
{
    begin_run(sweeping);
    if (options.concurrency == 1)
        run_one_at_a_time();
    else
        run_many_at_a_time();
    print_run();
    return 0;
}
