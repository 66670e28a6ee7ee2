/* Connections that are held open: registrations, and clients that send nothing. */
#include "lookup_load.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { ALIVE2_REQUEST = 120, ALIVE2_REPLY = 121, ALIVE2_X_REPLY = 118, NODE_TYPE_NORMAL = 77, VERSION = 6 };

/* A source address holds this many connections at most: well below the 28,232 default ephemeral ports. */
enum { CONNECTIONS_PER_SOURCE = 10000 };
/* Held connections come from 127.0.0.2 upwards; lookups come from 127.0.0.1 and so have all its ports. */
enum { FIRST_HELD_SOURCE = 0x7f000002 };

/* Writes the ALIVE2 request of `node` into `to` (MESSAGE_LIMIT bytes); returns its length. */
static size_t alive2_request(const struct node *node, uint8_t *to)
{
    uint8_t *at = to + 2;
    *at++ = ALIVE2_REQUEST;
    at = put16(at, node->port);
    *at++ = NODE_TYPE_NORMAL;
    *at++ = 0;
    at = put16(at, VERSION);
    at = put16(at, VERSION);
    at = put16(at, node->name_length);
    memcpy(at, node->request + NAME_OFFSET, node->name_length);
    at = put16(at + node->name_length, 0);
    put16(to, (unsigned)(at - to - 2));
    return (size_t)(at - to);
}

static void bind_source(int fd, uint32_t number)
{
    int on = 1;
    struct sockaddr_in from = {.sin_family = AF_INET};
    from.sin_addr.s_addr = htonl(FIRST_HELD_SOURCE + number / CONNECTIONS_PER_SOURCE);
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0
        || bind(fd, (struct sockaddr *)&from, sizeof from) < 0)
        die("bind");
}

static int open_held(uint32_t number)
{
    int fd = open_socket(0);
    if (fd < 0)
        die("socket");
    bind_source(fd, options.first + number);
    limit_waits(fd);
    if (connect_loopback(fd) < 0) {
        fprintf(stderr, "lookup_load: connection %" PRIu32 " of %" PRIu32 ": %s\n", number + 1, options.count,
                strerror(errno));
        exit(1);
    }
    return fd;
}

static void register_node(int fd, const struct node *node)
{
    uint8_t message[MESSAGE_LIMIT];
    size_t length = alive2_request(node, message);
    if (send(fd, message, length, MSG_NOSIGNAL) != (ssize_t)length)
        die("send of ALIVE2");
    ssize_t got = recv(fd, message, sizeof message, 0);
    bool is_reply = (got == 6 && message[0] == ALIVE2_X_REPLY) || (got == 4 && message[0] == ALIVE2_REPLY);
    if (is_reply && message[1] == 0)
        return;
    fprintf(stderr, "lookup_load: registration %" PRIu32 " of %" PRIu32 " was not accepted (%zd bytes, %s)\n",
            (uint32_t)(node - nodes) + 1, options.count, got, got < 0 ? strerror(errno) : "no error");
    exit(1);
}

static uint32_t count_open(const int *fds)
{
    uint32_t open = 0;
    uint8_t byte;
    for (uint32_t i = 0; i < options.count; i++) {
        ssize_t got = recv(fds[i], &byte, 1, MSG_DONTWAIT | MSG_PEEK);
        open += got < 0 && errno == EAGAIN;
    }
    return open;
}

int hold(bool registering)
{
    int *fds = calloc(options.count, sizeof *fds);
    if (!fds)
        die("memory for the connections");
    uint64_t start = now_ns();
    for (uint32_t i = 0; i < options.count; i++) {
        fds[i] = open_held(i);
        if (registering)
            register_node(fds[i], &nodes[i]);
    }
    alarm(0);
    printf("{\"open\": %" PRIu32 ", \"seconds\": %.3f}\n", options.count, (double)(now_ns() - start) / 1e9);
    fflush(stdout);
    for (char drop[64]; read(STDIN_FILENO, drop, sizeof drop) > 0;)
        ;
    printf("{\"still_open\": %" PRIu32 "}\n", count_open(fds));
    return 0;
}
