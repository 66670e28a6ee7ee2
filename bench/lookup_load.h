/* What the parts of the load generator share; lookup_load.c says what the generator does. */
#ifndef LOOKUP_LOAD_H
#define LOOKUP_LOAD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The fixed part of a PORT2 reply, before the name; the longest name; more than any message here. */
enum { REPLY_FIXED_BYTES = 12, NAME_LIMIT = 255, MESSAGE_LIMIT = 512 };

struct options {
    const char *mode, *pattern;
    uint16_t port;
    uint32_t count, first, base, concurrency;
    double seconds, warm, timeout;
    uint64_t seed;
};

struct node {
    uint16_t port, name_length, request_length;
    uint8_t request[MESSAGE_LIMIT]; /* PORT_PLEASE2; the name stands at NAME_OFFSET */
};

enum { NAME_OFFSET = 3 };

#define SECOND_NS UINT64_C(1000000000)

extern struct options options;
extern struct node *nodes; /* options.count of them */

uint64_t now_ns(void);
_Noreturn void die(const char *what);

uint8_t *put16(uint8_t *at, unsigned value);
unsigned get16(const uint8_t *at);

/* A TCP socket; flags as SOCK_NONBLOCK. -1 on failure. */
int open_socket(int flags);
/* As connect(2), to options.port on 127.0.0.1. */
int connect_loopback(int fd);
/* No call on `fd` blocks for longer than options.timeout. */
void limit_waits(int fd);

/* Opens options.count connections, registers a node on each or none, holds them until stdin ends. */
int hold(bool registering);
/* Looks names up: each once when sweeping, else at random for options.seconds. */
int look_up(bool sweeping);

#endif
