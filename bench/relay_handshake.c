/* The distribution handshake, as both sides of a link play it. */
#include "relay_load.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* Message tags and lengths; CHALLENGE_FIXED_BYTES: flags, challenge, creation and name length, after the tag. */
enum { NAME = 'N', REPLY = 'r', ACK = 'a', DIGEST_BYTES = 16, CHALLENGE_FIXED_BYTES = 19 };
/* What OTP 27 sends. */
#define FLAGS UINT64_C(0x0000000d07df7fbd)
#define NEAR_HOST "127.0.0.1"

uint8_t *put(uint8_t *at, int bytes, uint64_t value)
{
    while (bytes--)
        *at++ = (uint8_t)(value >> (8 * bytes));
    return at;
}

uint64_t get(const uint8_t *at, int bytes)
{
    uint64_t value = 0;
    while (bytes--)
        value = value << 8 | *at++;
    return value;
}

void send_name(struct link *link)
{
    uint8_t message[MESSAGE_LIMIT], *at = message + 2;
    char name[64];
    int length = snprintf(name, sizeof name, "near-%" PRIu32 "@" NEAR_HOST, link->number);
    *at++ = NAME;
    at = put(at, 8, FLAGS);
    at = put(at, 4, link->number + 4); /* creation: above 3, as OTP's */
    at = put(at, 2, (uint64_t)length);
    memcpy(at, name, (size_t)length);
    at += length;
    put(message, 2, (uint64_t)(at - message) - 2);
    link->stage = EXPECT_STATUS;
    send_whole(link, message, (size_t)(at - message));
}

static void send_status_and_challenge(struct link *link)
{
    uint8_t message[MESSAGE_LIMIT], *at = message + 2;
    size_t length = strlen(options.far_name);
    *at++ = NAME;
    at = put(at, 8, FLAGS);
    at = put(at, 4, link->number); /* the challenge */
    at = put(at, 4, 4);            /* creation */
    at = put(at, 2, length);
    memcpy(at, options.far_name, length);
    at += length;
    put(message, 2, (uint64_t)(at - message) - 2);
    link->stage = EXPECT_REPLY;
    send_whole(link, "\0\3sok", 5); /* OTP sends the two apart as well */
    send_whole(link, message, (size_t)(at - message));
}

static void send_reply(struct link *link)
{
    uint8_t message[2 + 1 + 4 + DIGEST_BYTES];
    put(message, 2, sizeof message - 2);
    message[2] = REPLY;
    put(message + 3, 4, link->number);
    memset(message + 7, 0x5a, DIGEST_BYTES); /* nobody here knows a cookie: any bytes are a digest */
    link->stage = EXPECT_ACK;
    send_whole(link, message, sizeof message);
}

static void send_ack(struct link *link)
{
    uint8_t message[2 + 1 + DIGEST_BYTES];
    put(message, 2, sizeof message - 2);
    message[2] = ACK;
    memset(message + 3, 0xa5, DIGEST_BYTES);
    send_whole(link, message, sizeof message);
}

static bool is_our_challenge(const uint8_t *message, size_t length)
{
    size_t name_length = strlen(options.far_name);
    return length == CHALLENGE_FIXED_BYTES + name_length && message[0] == NAME
           && get(message + CHALLENGE_FIXED_BYTES - 2, 2) == name_length
           && !memcmp(message + CHALLENGE_FIXED_BYTES, options.far_name, name_length);
}

static void become_established(struct link *link)
{
    link->stage = ESTABLISHED;
    void (*established)(struct link *) = link->is_near ? work.near_established : work.far_established;
    if (established)
        established(link);
}

/* One message of the handshake, without its length word. */
static void handle_message(struct link *link, const uint8_t *message, size_t length)
{
    if (link->stage == EXPECT_NAME && message[0] == NAME)
        send_status_and_challenge(link);
    else if (link->stage == EXPECT_STATUS && length == 3 && !memcmp(message, "sok", 3))
        link->stage = EXPECT_CHALLENGE;
    else if (link->stage == EXPECT_CHALLENGE && is_our_challenge(message, length))
        send_reply(link);
    else if (link->stage == EXPECT_REPLY && message[0] == REPLY && length == 1 + 4 + DIGEST_BYTES) {
        /* Established first: a near side in the same thread cannot overtake, one in another thread can. */
        become_established(link);
        send_ack(link);
    } else if (link->stage == EXPECT_ACK && message[0] == ACK && length == 1 + DIGEST_BYTES)
        become_established(link);
    else
        fail_link(link, "an unexpected handshake message");
}

void handle_handshake(struct link *link)
{
    size_t used = 0;
    while (link->stage != ESTABLISHED && link->stage != UNUSED && link->have - used >= 2) {
        size_t length = get(link->input + used, 2);
        if (length == 0 || length > MESSAGE_LIMIT - 2) {
            fail_link(link, "a bad length in the handshake");
            return;
        }
        if (link->have - used < 2 + length)
            break;
        handle_message(link, link->input + used + 2, length);
        used += 2 + length;
    }
    if (link->stage == UNUSED || link->stage < EXPECT_STATUS)
        return; /* closed meanwhile, or used again */
    link->have -= used;
    memmove(link->input, link->input + used, link->have);
    if (link->stage == ESTABLISHED && link->have)
        fail_link(link, "bytes that nobody sent follow the handshake");
}
