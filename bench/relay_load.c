/*
 * Load generator for distribution links: epoll, loopback only. bench/relay_generator.py compiles and runs it.
 *
 *   relay_load ping    on each of COUNT links a frame of 64 bytes goes there and back, for SECONDS
 *   relay_load bulk    frames of FRAME bytes one way on COUNT links, as fast as they go, for SECONDS
 *   relay_load setup   set links up and close them: one at a time, or RATE a second whatever happens
 *   relay_load hold    set COUNT links up, send MESSAGES pings on each, hold them until stdin ends
 *
 * It is both ends. The near side dials --dial, the far side listens at --listen; what lies between them
 * (nothing, a proxy, a relay) must not matter. Each link starts with a whole distribution handshake, the far
 * side calling itself --far-name, and then carries well-formed frames: a length word, and a body that
 * starts with 112. With --lookup, each set-up first asks an EPMD server there for --alive-name.
 *
 * Both ends run in one thread: a proxy under test has one of the machine's cores to itself, the generator
 * the other, and two processes that take turns on it would only add their switches to what is measured.
 * With nothing between the ends, --far-core N gives the far side a thread on core N, in the proxy's place.
 *
 * Prints one JSON line (hold: one when all is open, one more at the end). Exit status 1: a link could not
 * be set up, ended early, or lost or changed a byte; 2: bad usage; death by SIGALRM: nothing moved.
 */
#include "relay_load.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

struct options options = {.connections = 1, .frame = 65536, .seconds = 1, .timeout = 7, .far_core = -1};

_Noreturn void die(const char *what)
{
    give_up("%s: %s", what, strerror(errno));
}

_Noreturn void give_up(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    fprintf(stderr, "relay_load: ");
    vfprintf(stderr, format, arguments);
    fprintf(stderr, "\n");
    exit(1);
}

uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec)
           + (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

/* ---- the measured time ---- */

void window_open(struct window *window)
{
    window->first_ns = now_ns();
    window->begin_ns = window->first_ns + (uint64_t)(options.warm * 1e9);
    window->end_ns = window->begin_ns + (uint64_t)(options.seconds * 1e9);
}

void window_watch(struct window *window, uint64_t now)
{
    if (!window->begun && now >= window->begin_ns) {
        window->begun = true;
        window->cpu_at_begin = cpu_seconds();
    }
    if (!window->ended && now >= window->end_ns) {
        window->ended = true;
        window->cpu_used = cpu_seconds() - window->cpu_at_begin;
    }
}

static int by_size(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

void print_spread(uint64_t *counts, size_t length)
{
    qsort(counts, length, sizeof *counts, by_size);
    printf("\"slowest\": %" PRIu64 ", \"median\": %" PRIu64, counts[0], counts[length / 2]);
}

/* ---- command line ---- */

static void usage(void)
{
    fprintf(stderr, "usage: relay_load ping|bulk|setup|hold --dial ADDRESS:PORT --listen ADDRESS:PORT\n"
                    "         --far-name ALIVE@HOST [--lookup ADDRESS:PORT] [--connections C] [--frame BYTES]\n"
                    "         [--messages N] [--seconds S] [--warm S] [--rate R] [--timeout S] [--far-core N]\n");
    exit(2);
}

static void read_address(const char *text, struct sockaddr_in *address)
{
    char host[INET_ADDRSTRLEN] = "";
    const char *colon = strrchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof host)
        usage();
    memcpy(host, text, (size_t)(colon - text));
    address->sin_family = AF_INET;
    address->sin_port = htons((uint16_t)strtoul(colon + 1, NULL, 10));
    if (!address->sin_port || inet_pton(AF_INET, host, &address->sin_addr) != 1)
        usage();
}

static void set_option(int option, const char *value)
{
    switch (option) {
    case 'd': read_address(value, &options.dial); break;
    case 'l': read_address(value, &options.listen); break;
    case 'e': read_address(value, &options.lookup); break;
    case 'n': options.far_name = value; break;
    case 'c': options.connections = (uint32_t)strtoul(value, NULL, 10); break;
    case 'f': options.frame = (uint32_t)strtoul(value, NULL, 10); break;
    case 'm': options.messages = (uint32_t)strtoul(value, NULL, 10); break;
    case 's': options.seconds = strtod(value, NULL); break;
    case 'w': options.warm = strtod(value, NULL); break;
    case 'r': options.rate = strtod(value, NULL); break;
    case 't': options.timeout = strtod(value, NULL); break;
    case 'F': options.far_core = (int)strtol(value, NULL, 10); break;
    default: usage();
    }
}

static void read_options(int argc, char **argv)
{
    static const struct option names[] = {
        {"dial", 1, 0, 'd'}, {"listen", 1, 0, 'l'}, {"lookup", 1, 0, 'e'}, {"far-name", 1, 0, 'n'},
        {"connections", 1, 0, 'c'}, {"frame", 1, 0, 'f'}, {"messages", 1, 0, 'm'}, {"seconds", 1, 0, 's'},
        {"warm", 1, 0, 'w'}, {"rate", 1, 0, 'r'}, {"timeout", 1, 0, 't'}, {"far-core", 1, 0, 'F'}, {0, 0, 0, 0},
    };
    for (int option; (option = getopt_long(argc, argv, "", names, NULL)) != -1;)
        set_option(option, optarg ? optarg : "");
    if (optind != argc - 1 || !options.dial.sin_port || !options.listen.sin_port || !options.far_name
        || !strchr(options.far_name, '@') || strlen(options.far_name) > 255 || !options.connections
        || options.frame < 1 || options.timeout <= 0)
        usage();
    options.alive_name = strndup(options.far_name, (size_t)(strchr(options.far_name, '@') - options.far_name));
    options.mode = argv[optind];
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        int (*run)(void);
    } modes[] = {{"ping", run_pings}, {"bulk", run_bulk}, {"setup", run_setups}, {"hold", hold_links}};
    read_options(argc, argv);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    alarm((unsigned)(options.warm + options.seconds + options.timeout) + OPENING_LIMIT_SECONDS + 1);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (!strcmp(options.mode, modes[i].name))
            return modes[i].run();
    usage();
}
