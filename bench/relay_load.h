/* What the parts of the load generator for links share; relay_load.c says what the generator does. */
#ifndef RELAY_LOAD_H
#define RELAY_LOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* More than any handshake message here, than an EPMD reply, and than a ping. */
enum { MESSAGE_LIMIT = 512 };
/* First byte of a frame without a distribution header. */
enum { PASS_THROUGH = 112 };
/* To open all links of a run. */
enum { OPENING_LIMIT_SECONDS = 60 };

#define SECOND_NS UINT64_C(1000000000)

struct options {
    const char *mode, *far_name, *alive_name;
    struct sockaddr_in dial, listen, lookup; /* a port of 0: not given */
    uint32_t connections, frame, messages;
    double seconds, warm, timeout, rate;
    int far_core; /* -1: both sides in one thread */
};

extern struct options options;

enum stage {
    UNUSED,
    LOOKING_UP, CONNECTING, EXPECT_STATUS, EXPECT_CHALLENGE, EXPECT_ACK, /* the near side */
    EXPECT_NAME, EXPECT_REPLY,                                           /* the far side */
    ESTABLISHED,
};

struct link {
    int fd;
    bool is_near, watches_output;
    enum stage stage;
    uint32_t number; /* by the order of opening, each side for itself */
    size_t have;
    uint8_t input[MESSAGE_LIMIT];
    uint64_t started_ns; /* of the set-up, or of the ping under way */
    uint64_t sequence, counted;
    size_t offset;
    struct link *next_unused;
};

/* What a mode does with links; each may be NULL. */
struct work {
    void (*near_established)(struct link *), (*far_established)(struct link *);
    /* The link is established and there is something to read, or room to write. */
    void (*near_ready)(struct link *, uint32_t events), (*far_ready)(struct link *, uint32_t events);
    /* A near link's set-up went wrong; NULL: that, on either side, ends the program. */
    void (*near_failed)(struct link *, const char *why);
};

extern struct work work;

/* relay_load.c */
uint64_t now_ns(void);
double cpu_seconds(void);
_Noreturn void die(const char *what);
_Noreturn void give_up(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* relay_handshake.c */
uint8_t *put(uint8_t *at, int bytes, uint64_t value);
uint64_t get(const uint8_t *at, int bytes);
/* The near side's first message. */
void send_name(struct link *link);
/* Answers the whole messages among link->input, until the link is established. */
void handle_handshake(struct link *link);

/* relay_links.c */
/* Ends the program, or where the mode counts failed set-ups, the link: its stage is then UNUSED. */
void fail_link(struct link *link, const char *why);
/* Starts the far side: listens, and runs in a thread of its own where options.far_core says so. */
void start_far_side(void);
/* Starts the set-up of a near link; `port` of the dialled address, in host order. */
void open_near(struct link *link);
void watch(struct link *link, bool output);
void send_whole(struct link *link, const void *bytes, size_t length);
/* As recv(2) into `to`; -1: nothing there now; 0: the other side has closed. */
ssize_t receive(struct link *link, void *to, size_t limit);
void close_link(struct link *link);
/* Waits for events of the near side, until `until_ns` at the latest, and handles them. */
void run_once(uint64_t until_ns);
/* Opens options.connections near links and waits until all are established. */
struct link *open_all(void);
size_t handshakes_cut_short(void);

/* relay_ping.c, relay_bulk.c, relay_setup.c: the modes */
int run_pings(void);
int run_bulk(void);
int run_setups(void);
int hold_links(void);

/* The measured time: from options.warm after now, for options.seconds. */
struct window {
    uint64_t first_ns, begin_ns, end_ns;
    double cpu_at_begin, cpu_used;
    bool begun, ended;
};

void window_open(struct window *window);
/* Takes the CPU time at both ends; to be called about once a turn of the loop. */
void window_watch(struct window *window, uint64_t now);
/* Prints `"slowest": N, "median": M` of per-link counts. */
void print_spread(uint64_t *counts, size_t length);

#endif
