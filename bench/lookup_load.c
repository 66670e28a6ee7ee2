/*
 * Load generator for EPMD servers: one thread, epoll, loopback only. bench/lookup_generator.py compiles and runs it.
 *
 *   lookup_load register   open COUNT registrations (ALIVE2), hold them until stdin ends
 *   lookup_load silent     open COUNT connections that send nothing, hold them until stdin ends
 *   lookup_load load       look names up (PORT_PLEASE2) for SECONDS, CONCURRENCY at a time
 *   lookup_load sweep      look each of the COUNT names up once, in order
 *
 * Node number I has the port BASE + I, and as its name the pattern, in which {i} stands for I in five
 * digits and {port} for the port. Every reply is checked: tag, result, port, the name, its full length.
 *
 * `register` and `silent` print one JSON line when all is open and one more at the end, with the number
 * of connections that are still open. `load` and `sweep` print one JSON line. Exit status 1: the
 * connections could not be opened; 2: bad usage; death by SIGALRM: the server stopped answering.
 */
#include "lookup_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PORT_PLEASE2_REQUEST = 122 };

enum { HELD_SETUP_LIMIT_SECONDS = 120, SWEEP_LIMIT_SECONDS = 120, SPARE_SECONDS = 30 };

struct options options = {
    .pattern = "n{i}-{port}", .base = 20000, .count = 1, .concurrency = 1, .seconds = 1, .timeout = 5,
    .seed = 88172645463325252u,
};
struct node *nodes;

_Noreturn void die(const char *what)
{
    fprintf(stderr, "lookup_load: %s: %s\n", what, strerror(errno));
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

/* ---- nodes and messages ---- */

uint8_t *put16(uint8_t *at, unsigned value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
    return at + 2;
}

unsigned get16(const uint8_t *at)
{
    return (unsigned)at[0] << 8 | at[1];
}

/* Writes the name of node `number` into `name` (NAME_LIMIT + 1 bytes); returns its length. */
static size_t node_name(uint32_t number, uint16_t port, char *name)
{
    size_t used = 0;
    for (const char *from = options.pattern; *from && used < NAME_LIMIT;) {
        if (!strncmp(from, "{i}", 3)) {
            used += (size_t)snprintf(name + used, NAME_LIMIT + 1 - used, "%05" PRIu32, number);
            from += 3;
        } else if (!strncmp(from, "{port}", 6)) {
            used += (size_t)snprintf(name + used, NAME_LIMIT + 1 - used, "%u", (unsigned)port);
            from += 6;
        } else {
            name[used++] = *from++;
        }
    }
    return used < NAME_LIMIT ? used : NAME_LIMIT;
}

static void build_nodes(void)
{
    char name[NAME_LIMIT + 1];
    nodes = calloc(options.count, sizeof *nodes);
    if (!nodes)
        die("memory for the names");
    for (uint32_t i = 0; i < options.count; i++) {
        struct node *node = &nodes[i];
        node->port = (uint16_t)(options.base + options.first + i);
        size_t length = node_name(options.first + i, node->port, name);
        node->name_length = (uint16_t)length;
        uint8_t *at = put16(node->request, (unsigned)length + 1);
        *at++ = PORT_PLEASE2_REQUEST;
        memcpy(at, name, length);
        node->request_length = (uint16_t)(NAME_OFFSET + length);
    }
}

int open_socket(int flags)
{
    return socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
}

int connect_loopback(int fd)
{
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(options.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(fd, (struct sockaddr *)&to, sizeof to);
}

void limit_waits(int fd)
{
    struct timeval limit = {.tv_sec = (time_t)options.timeout};
    limit.tv_usec = (suseconds_t)((options.timeout - (double)limit.tv_sec) * 1e6);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
}

/* ---- command line ---- */

static void usage(void)
{
    fprintf(stderr, "usage: lookup_load register|silent|load|sweep --port P [--count N] [--first I]\n"
                    "         [--base PORT] [--pattern TEXT] [--concurrency C] [--seconds S] [--warm S]\n"
                    "         [--timeout S] [--seed N]\n");
    exit(2);
}

static void set_option(int option, const char *value)
{
    unsigned long number = strtoul(value, NULL, 10);
    switch (option) {
    case 'p': options.port = (uint16_t)number; break;
    case 'n': options.count = (uint32_t)number; break;
    case 'f': options.first = (uint32_t)number; break;
    case 'b': options.base = (uint32_t)number; break;
    case 'c': options.concurrency = (uint32_t)number; break;
    case 's': options.seconds = strtod(value, NULL); break;
    case 'w': options.warm = strtod(value, NULL); break;
    case 't': options.timeout = strtod(value, NULL); break;
    case 'r': options.seed = strtoull(value, NULL, 10); break;
    case 'P': options.pattern = value; break;
    default: usage();
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"port", 1, 0, 'p'}, {"count", 1, 0, 'n'}, {"first", 1, 0, 'f'}, {"base", 1, 0, 'b'},
        {"concurrency", 1, 0, 'c'}, {"seconds", 1, 0, 's'}, {"warm", 1, 0, 'w'}, {"timeout", 1, 0, 't'},
        {"seed", 1, 0, 'r'}, {"pattern", 1, 0, 'P'}, {0, 0, 0, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;)
        set_option(option, optarg ? optarg : "");
    bool ports_fit = (uint64_t)options.base + options.first + options.count <= 65536;
    if (optind != argc - 1 || !options.port || !options.count || !options.concurrency || !ports_fit
        || !options.seed || options.timeout <= 0)
        usage();
    options.mode = argv[optind];
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    build_nodes();
    if (!strcmp(options.mode, "load")) {
        alarm((unsigned)(options.warm + options.seconds + options.timeout) + SPARE_SECONDS);
        return look_up(false);
    }
    if (!strcmp(options.mode, "sweep")) {
        alarm(SWEEP_LIMIT_SECONDS);
        return look_up(true);
    }
    alarm(HELD_SETUP_LIMIT_SECONDS);
    if (!strcmp(options.mode, "register"))
        return hold(true);
    if (!strcmp(options.mode, "silent"))
        return hold(false);
    usage();
}
