/* Links: their sockets, the lookup before them, and the loops that wait for events of them. */
#include "relay_load.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* EPMD. */
enum { PORT_PLEASE2_REQUEST = 122, PORT2_REPLY = 119, PORT2_FIXED_BYTES = 12 };
enum { EVENTS_AT_ONCE = 256, BACKLOG = 4096 };
/* Set-ups under way at once while many links are opened: few enough for any limit on half-open ones. */
enum { OPENING_AT_ONCE = 64 };

struct work work;

static int near_epoll = -1, far_epoll = -1, listener = -1;
static uint32_t near_opened, far_opened;
static _Atomic size_t cut_short;
static struct link listening; /* what the listener's events point at */
static struct link *far_unused;

static void handle(struct link *link, uint32_t events);

size_t handshakes_cut_short(void)
{
    return cut_short;
}

/* ---- bytes in and out ---- */

void fail_link(struct link *link, const char *why)
{
    if (link->stage != ESTABLISHED && work.near_failed) {
        if (link->is_near) {
            work.near_failed(link, why);
        } else {
            cut_short++;
            close_link(link);
        }
        return;
    }
    give_up("%s link %" PRIu32 ", stage %d: %s", link->is_near ? "near" : "far", link->number, (int)link->stage,
            why);
}

void watch(struct link *link, bool output)
{
    struct epoll_event event = {.data.ptr = link, .events = EPOLLIN | (output ? EPOLLOUT : 0)};
    if (epoll_ctl(link->is_near ? near_epoll : far_epoll, EPOLL_CTL_MOD, link->fd, &event) < 0)
        die("epoll_ctl");
    link->watches_output = output;
}

static void watch_first(struct link *link)
{
    struct epoll_event event = {.data.ptr = link, .events = EPOLLIN | (link->watches_output ? EPOLLOUT : 0)};
    if (epoll_ctl(link->is_near ? near_epoll : far_epoll, EPOLL_CTL_ADD, link->fd, &event) < 0)
        die("epoll_ctl");
}

void send_whole(struct link *link, const void *bytes, size_t length)
{
    ssize_t sent = send(link->fd, bytes, length, MSG_NOSIGNAL);
    if (sent != (ssize_t)length)
        fail_link(link, sent < 0 ? strerror(errno) : "a small message did not fit into the socket");
}

ssize_t receive(struct link *link, void *to, size_t limit)
{
    ssize_t got = recv(link->fd, to, limit, 0);
    if (got < 0 && errno != EAGAIN && errno != EINTR)
        fail_link(link, strerror(errno));
    return got;
}

void close_link(struct link *link)
{
    close(link->fd);
    link->fd = -1;
    link->stage = UNUSED;
    if (link->is_near)
        return;
    link->next_unused = far_unused; /* never freed: a caller up the stack may look at the stage once more */
    far_unused = link;
}

/* ---- near side ---- */

static int new_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int on = 1;
    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* as OTP does for distribution */
    return fd;
}

static void send_request_or_name(struct link *link, enum stage connecting)
{
    if (connecting != LOOKING_UP) {
        send_name(link);
        return;
    }
    uint8_t request[MESSAGE_LIMIT];
    size_t length = strlen(options.alive_name);
    put(request, 2, 1 + length);
    request[2] = PORT_PLEASE2_REQUEST;
    memcpy(request + 3, options.alive_name, length);
    send_whole(link, request, 3 + length);
}

static void connect_near(struct link *link, const struct sockaddr_in *to, enum stage stage)
{
    link->fd = new_socket();
    link->stage = stage;
    link->have = 0;
    bool now = connect(link->fd, (const struct sockaddr *)to, sizeof *to) == 0;
    if (!now && errno != EINPROGRESS) {
        fail_link(link, strerror(errno));
        return;
    }
    link->watches_output = !now;
    watch_first(link);
    if (now)
        send_request_or_name(link, stage);
}

void open_near(struct link *link)
{
    link->is_near = true;
    link->number = near_opened++;
    link->sequence = link->counted = link->offset = 0;
    link->started_ns = now_ns();
    if (options.lookup.sin_port)
        connect_near(link, &options.lookup, LOOKING_UP);
    else
        connect_near(link, &options.dial, CONNECTING);
}

static void connected(struct link *link)
{
    int error = 0;
    socklen_t length = sizeof error;
    getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &error, &length);
    if (error) {
        fail_link(link, strerror(error));
        return;
    }
    watch(link, false);
    send_request_or_name(link, link->stage);
}

/* The node dials only once the EPMD server has closed, as a BEAM does. */
static void look_up(struct link *link)
{
    ssize_t got = receive(link, link->input + link->have, sizeof link->input - link->have);
    if (got != 0 || link->stage == UNUSED) {
        link->have += got > 0 ? (size_t)got : 0;
        return;
    }
    if (link->have < PORT2_FIXED_BYTES || link->input[0] != PORT2_REPLY || link->input[1] != 0) {
        fail_link(link, link->have ? "the EPMD server does not know the node" : "the EPMD server closed unasked");
        return;
    }
    struct sockaddr_in to = options.dial;
    to.sin_port = htons((uint16_t)get(link->input + 2, 2));
    close(link->fd);
    connect_near(link, &to, CONNECTING);
}

/* ---- far side ---- */

static struct link *new_far(void)
{
    struct link *link = far_unused;
    if (link)
        far_unused = link->next_unused;
    else if (!(link = malloc(sizeof *link)))
        die("memory for a link");
    memset(link, 0, sizeof *link);
    return link;
}

static void accept_links(void)
{
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;) {
        int on = 1;
        struct link *link = new_far();
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        link->fd = fd;
        link->stage = EXPECT_NAME;
        link->number = far_opened++;
        watch_first(link);
    }
    if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
        die("accept");
}

static void *far_loop(void *core)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET(*(int *)core, &cores);
    if (sched_setaffinity(0, sizeof cores, &cores) < 0)
        die("sched_setaffinity");
    for (;;) {
        int ready = epoll_wait(far_epoll, events, EVENTS_AT_ONCE, -1);
        for (int i = 0; i < ready; i++)
            handle(events[i].data.ptr, events[i].events);
    }
    return NULL;
}

void start_far_side(void)
{
    int on = 1;
    near_epoll = epoll_create1(EPOLL_CLOEXEC);
    far_epoll = options.far_core < 0 ? near_epoll : epoll_create1(EPOLL_CLOEXEC);
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (near_epoll < 0 || far_epoll < 0 || listener < 0)
        die("epoll or socket");
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&options.listen, sizeof options.listen) < 0
        || listen(listener, BACKLOG) < 0)
        die("the far side cannot listen");
    struct epoll_event event = {.data.ptr = &listening, .events = EPOLLIN};
    if (epoll_ctl(far_epoll, EPOLL_CTL_ADD, listener, &event) < 0)
        die("epoll_ctl");
    pthread_t thread;
    if (options.far_core >= 0 && pthread_create(&thread, NULL, far_loop, &options.far_core))
        die("a thread for the far side");
}

/* ---- events ---- */

static void read_handshake(struct link *link)
{
    ssize_t got = receive(link, link->input + link->have, sizeof link->input - link->have);
    if (got < 0 || link->stage == UNUSED)
        return;
    if (got > 0) {
        link->have += (size_t)got;
        handle_handshake(link);
    } else if (link->is_near) {
        fail_link(link, "closed during the handshake");
    } else {
        cut_short++;
        close_link(link);
    }
}

static void work_on(struct link *link, uint32_t events)
{
    void (*ready)(struct link *, uint32_t) = link->is_near ? work.near_ready : work.far_ready;
    uint8_t byte;
    if (ready)
        ready(link, events);
    else if (recv(link->fd, &byte, 1, 0) >= 0 || errno != EAGAIN)
        close_link(link); /* nobody sends on an idle link: it has ended */
}

static void handle(struct link *link, uint32_t events)
{
    if (link == &listening)
        accept_links();
    else if (link->stage == ESTABLISHED)
        work_on(link, events);
    else if (link->watches_output && link->stage != UNUSED)
        connected(link);
    else if (link->stage == LOOKING_UP)
        look_up(link);
    else if (link->stage != UNUSED)
        read_handshake(link);
}

void run_once(uint64_t until_ns)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    uint64_t now = now_ns(), left = until_ns > now ? until_ns - now : 0;
    struct timespec limit = {.tv_sec = (time_t)(left / SECOND_NS), .tv_nsec = (long)(left % SECOND_NS)};
    int ready = epoll_pwait2(near_epoll, events, EVENTS_AT_ONCE, &limit, NULL);
    for (int i = 0; i < ready; i++)
        handle(events[i].data.ptr, events[i].events);
}

static uint32_t established;

static void count_established(struct link *link)
{
    (void)link;
    established++;
}

struct link *open_all(void)
{
    struct link *links = calloc(options.connections, sizeof *links);
    void (*wanted)(struct link *) = work.near_established;
    if (!links)
        die("memory for the links");
    work.near_established = count_established;
    uint64_t deadline = now_ns() + SECOND_NS * OPENING_LIMIT_SECONDS;
    for (uint32_t opened = 0; established < options.connections && now_ns() < deadline;) {
        while (opened < options.connections && opened - established < OPENING_AT_ONCE)
            open_near(&links[opened++]);
        run_once(deadline);
    }
    if (established < options.connections)
        give_up("only %" PRIu32 " of %" PRIu32 " links came up", established, options.connections);
    work.near_established = wanted;
    return links;
}
