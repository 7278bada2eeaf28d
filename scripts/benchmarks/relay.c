// A line with a delay and a rate: `relay PORT DELAY_MS MBIT [ADDRESS]` leads a port that it prints to PORT of loopback.
// Bytes take DELAY_MS one way, and all connections share MBIT each way (0: no bound). A connection is there after one and a
// half round trips, as after a handshake over such a line. What one connection holds is bounded by what is under way and
// by QUEUE_MAX before it, so that a sender feels the rate.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, QUEUE_MAX = 1024 * 1024, CONNECTIONS_MAX = 256 };

struct chunk {
    struct chunk *next;
    int64_t departs, due;
    size_t length, done;
    char bytes[CHUNK];
};

// One way of a connection. `from` is closed for reading at its end, `to` for writing once all has arrived.
struct way {
    struct chunk *first, *last;
    int from, to;
    int ended, shut;
    int64_t end_due;
};

struct connection {
    int used, client, server;
    int64_t dial_at;
    struct way there, back;
};

static struct connection connections[CONNECTIONS_MAX];
static struct chunk *spare;
static int64_t delay_ns, busy_until[2];
static double ns_per_byte;

static int64_t now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void tune(int socket) {
    int yes = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
}

static struct chunk *take(void) {
    struct chunk *chunk = spare;
    if (chunk)
        spare = chunk->next;
    else if (!(chunk = malloc(sizeof *chunk)))
        exit(1);
    chunk->next = NULL;
    chunk->done = 0;
    return chunk;
}

// Bytes that have not left yet: those that wait for the rate.
static size_t waiting(const struct way *way, int64_t at) {
    size_t bytes = 0;
    for (const struct chunk *chunk = way->first; chunk; chunk = chunk->next)
        if (chunk->departs > at)
            bytes += chunk->length;
    return bytes;
}

static void receive(struct way *way, int direction, int64_t at) {
    struct chunk *chunk = take();
    ssize_t count = recv(way->from, chunk->bytes, CHUNK, MSG_DONTWAIT);
    if (count <= 0) {
        chunk->next = spare;
        spare = chunk;
        if (count == 0 || (errno != EAGAIN && errno != EINTR)) {
            way->ended = 1;
            way->end_due = (at > busy_until[direction] ? at : busy_until[direction]) + delay_ns;
        }
        return;
    }
    int64_t start = at > busy_until[direction] ? at : busy_until[direction];
    busy_until[direction] = start + (int64_t)(count * ns_per_byte);
    chunk->length = count;
    chunk->departs = busy_until[direction];
    chunk->due = chunk->departs + delay_ns;
    if (way->first)
        way->last->next = chunk;
    else
        way->first = chunk;
    way->last = chunk;
}

// Hands over what has arrived; returns whether the receiver takes no more for now.
static int deliver(struct way *way, int64_t at) {
    while (way->first && way->first->due <= at) {
        struct chunk *chunk = way->first;
        ssize_t count = send(way->to, chunk->bytes + chunk->done, chunk->length - chunk->done, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            return 1;
        chunk->done = count < 0 ? chunk->length : chunk->done + count;
        if (chunk->done < chunk->length)
            return 1;
        way->first = chunk->next;
        chunk->next = spare;
        spare = chunk;
    }
    if (way->ended && !way->shut && !way->first && way->end_due <= at) {
        shutdown(way->to, SHUT_WR);
        way->shut = 1;
    }
    return 0;
}

static void earliest(int64_t *next, int64_t moment) {
    if (moment < *next)
        *next = moment;
}

static void dial(struct connection *one, int port) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    one->dial_at = 0;
    one->server = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(one->server, (struct sockaddr *)&to, sizeof to) != 0) {
        close(one->server);
        close(one->client);
        one->used = 0;
        return;
    }
    tune(one->server);
    one->there = (struct way){.from = one->client, .to = one->server};
    one->back = (struct way){.from = one->server, .to = one->client};
}

static void welcome(int listener, int64_t at) {
    int client = accept(listener, NULL, NULL);
    for (int i = 0; client >= 0 && i < CONNECTIONS_MAX; i++) {
        if (!connections[i].used) {
            tune(client);
            memset(&connections[i], 0, sizeof connections[i]);
            connections[i].used = 1;
            connections[i].client = client;
            connections[i].dial_at = at + 3 * delay_ns;
            return;
        }
    }
    close(client);
}

int main(int argc, char **argv) {
    if (argc < 4)
        return 2;
    int port = atoi(argv[1]), listener = socket(AF_INET, SOCK_STREAM, 0);
    delay_ns = (int64_t)(atof(argv[2]) * 1e6);
    ns_per_byte = atof(argv[3]) > 0 ? 8000.0 / atof(argv[3]) : 0;
    struct sockaddr_in here = {.sin_family = AF_INET, .sin_addr.s_addr = inet_addr(argc > 4 ? argv[4] : "127.0.0.1")};
    socklen_t length = sizeof here;
    signal(SIGPIPE, SIG_IGN);
    if (bind(listener, (struct sockaddr *)&here, sizeof here) || listen(listener, 512) ||
        getsockname(listener, (struct sockaddr *)&here, &length))
        return 1;
    printf("%d\n", ntohs(here.sin_port));
    fflush(stdout);

    for (;;) {
        struct pollfd polled[1 + 4 * CONNECTIONS_MAX] = {{.fd = listener, .events = POLLIN}};
        struct way *ways[1 + 4 * CONNECTIONS_MAX];
        int directions[1 + 4 * CONNECTIONS_MAX], count = 1;
        int64_t at = now(), next = at + 1000000000;
        for (int i = 0; i < CONNECTIONS_MAX; i++) {
            struct connection *one = &connections[i];
            if (one->used && one->dial_at && one->dial_at <= at)
                dial(one, port);
            if (!one->used)
                continue;
            if (one->dial_at) {
                earliest(&next, one->dial_at);
                continue;
            }
            struct way *both[2] = {&one->there, &one->back};
            for (int direction = 0; direction < 2; direction++) {
                struct way *way = both[direction];
                int is_full = deliver(way, at);
                if (is_full)
                    polled[count] = (struct pollfd){.fd = way->to, .events = POLLOUT}, ways[count++] = NULL;
                else if (way->first)
                    earliest(&next, way->first->due);
                else if (way->ended && !way->shut)
                    earliest(&next, way->end_due);
                // Unsent and undelivered bytes are bounded: by the queue, and by a receiver that is slower than the line.
                if (!way->ended && !is_full) {
                    if (waiting(way, at) < QUEUE_MAX)
                        polled[count] = (struct pollfd){.fd = way->from, .events = POLLIN}, directions[count] = direction,
                        ways[count++] = way;
                    else
                        earliest(&next, at + 500000);
                }
            }
            if (one->there.shut && one->back.shut) {
                close(one->client);
                close(one->server);
                one->used = 0;
            }
        }
        struct timespec pause = {.tv_sec = 0, .tv_nsec = next > at ? next - at : 0};
        if (pause.tv_nsec >= 1000000000)
            pause = (struct timespec){.tv_sec = 1};
        if (ppoll(polled, count, &pause, NULL) <= 0)
            continue;
        at = now();
        if (polled[0].revents)
            welcome(listener, at);
        for (int i = 1; i < count; i++)
            if (polled[i].revents && ways[i])
                receive(ways[i], directions[i], at);
    }
}
