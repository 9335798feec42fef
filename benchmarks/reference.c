/*
 * What this machine can do: one thread, epoll, and one send for each event and client. Nothing is gathered, parsed or checked beyond need.
 *
 * Usage: reference PORT
 *
 *   GET  /events?channel=cN
 *   POST /publish?seconds=&rate=&channels=&most=&text=
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG 4096
#define LONGEST_EVENT (1 << 16)
#define LONGEST_REQUEST 4096
#define MOST_CHANNELS 4096
#define MOST_FILES (1 << 17)
#define SECOND 1000000000ull

struct client {
    bool is_open, is_listening;
    uint32_t channel, place; /* where it stands in the list of its channel */
    char *waiting;           /* what its socket would not take yet */
    size_t waiting_length;
};

struct channel {
    int *listeners;
    uint32_t count, room;
};

/* The one publishing that is under way. */
static struct {
    int client;
    double seconds, rate;
    uint64_t began, most, done;
    uint32_t channels, text;
    uint32_t *took; /* nanoseconds of each publish */
} work = {.client = -1};

static struct client clients[MOST_FILES];
static struct channel channels[MOST_CHANNELS];
static int epoll, listener;

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *checked(void *memory)
{
    if (!memory)
        die("memory");
    return memory;
}

static void watch(int fd, int operation, uint32_t what)
{
    struct epoll_event event = {.events = what, .data.fd = fd};
    if (epoll_ctl(epoll, operation, fd, &event))
        die("epoll_ctl");
}

static void drop(int fd)
{
    struct client *client = &clients[fd];

    if (client->is_listening) {
        struct channel *channel = &channels[client->channel];
        int last = channel->listeners[--channel->count];
        channel->listeners[client->place] = last;
        clients[last].place = client->place;
    }
    if (work.client == fd)
        work.client = -1;
    free(client->waiting);
    *client = (struct client){0};
    close(fd);
}

/* Sends, or keeps for later what the socket does not take; false when the client is gone. */
static bool give(int fd, const char *bytes, size_t length)
{
    struct client *client = &clients[fd];
    ssize_t sent = client->waiting_length ? 0 : send(fd, bytes, length, MSG_NOSIGNAL);

    if (sent == (ssize_t)length)
        return true;
    if (sent < 0 && errno != EAGAIN) {
        drop(fd);
        return false;
    }
    size_t left = length - (sent > 0 ? (size_t)sent : 0);
    if (!client->waiting_length)
        watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    client->waiting = checked(realloc(client->waiting, client->waiting_length + left));
    memcpy(client->waiting + client->waiting_length, bytes + length - left, left);
    client->waiting_length += left;
    return true;
}

static void give_waiting(int fd)
{
    struct client *client = &clients[fd];
    ssize_t sent = send(fd, client->waiting, client->waiting_length, MSG_NOSIGNAL);

    if (sent < 0) {
        if (errno != EAGAIN)
            drop(fd);
        return;
    }
    client->waiting_length -= (size_t)sent;
    memmove(client->waiting, client->waiting + sent, client->waiting_length);
    if (!client->waiting_length) {
        free(client->waiting);
        client->waiting = NULL;
        watch(fd, EPOLL_CTL_MOD, EPOLLIN);
    }
}

static double parameter(const char *query, const char *name, double otherwise)
{
    const char *found = strstr(query, name);
    return found ? atof(found + strlen(name)) : otherwise;
}

static void listen_to(int fd, uint32_t number)
{
    static const char header[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n";
    struct channel *channel = &channels[number % MOST_CHANNELS];

    if (channel->count == channel->room) {
        channel->room = channel->room ? channel->room * 2 : 4;
        channel->listeners = checked(realloc(channel->listeners, channel->room * sizeof *channel->listeners));
    }
    clients[fd].is_listening = true;
    clients[fd].channel = number % MOST_CHANNELS;
    clients[fd].place = channel->count;
    channel->listeners[channel->count++] = fd;
    give(fd, header, sizeof header - 1);
}

static void begin_work(int fd, const char *query)
{
    work.client = fd;
    work.seconds = parameter(query, "seconds=", 1);
    work.rate = parameter(query, "rate=", 0);
    work.channels = (uint32_t)parameter(query, "channels=", 1);
    work.most = (uint64_t)parameter(query, "most=", 1);
    work.text = (uint32_t)parameter(query, "text=", 61);
    if (!work.channels || work.channels > MOST_CHANNELS || work.text > LONGEST_EVENT - 256) {
        drop(fd);
        return;
    }
    work.took = checked(realloc(work.took, (work.most + 1) * sizeof *work.took));
    work.done = 0;
    work.began = now();
}

static void take_request(int fd)
{
    char request[LONGEST_REQUEST + 1];
    ssize_t length = recv(fd, request, LONGEST_REQUEST, 0);

    if (length < 0 && errno == EAGAIN)
        return;
    if (length <= 0) {
        drop(fd);
        return;
    }
    request[length] = 0;
    request[strcspn(request, "\r")] = 0; /* the request line says it all, and comes in one piece over loopback */
    if (!strncmp(request, "GET /events?channel=c", 21) && !clients[fd].is_listening)
        listen_to(fd, (uint32_t)atoi(request + 21));
    else if (!strncmp(request, "POST /publish?", 14) && work.client < 0)
        begin_work(fd, request + 14);
    else
        drop(fd);
}

static void publish_one(void)
{
    static char event[LONGEST_EVENT], chunk[LONGEST_EVENT + 32];
    uint64_t time = now();
    uint32_t number = (uint32_t)(work.done % work.channels);
    int length = snprintf(event, sizeof event, "data: {\"channel\":%u,\"seq\":%lu,\"ts\":%lu,\"text\":\"%0*d\"}\n\n", number, work.done / work.channels, time,
        (int)work.text, 0);

    length = snprintf(chunk, sizeof chunk, "%x\r\n%s\r\n", (unsigned)length, event);
    /* Backwards, because a client that is gone leaves its place to the last. */
    for (uint32_t i = channels[number].count; i-- > 0;)
        give(channels[number].listeners[i], chunk, (size_t)length);
    work.took[work.done++] = (uint32_t)(now() - time);
}

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static void end_work(void)
{
    char body[128], answer[256];
    int fd = work.client;

    qsort(work.took, work.done, sizeof *work.took, by_size);
    int length = snprintf(body, sizeof body, "{\"published\": %lu, \"median_nanoseconds\": %u}", work.done, work.done ? work.took[work.done / 2] : 0);
    length = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", length, body);
    if (give(fd, answer, (size_t)length))
        drop(fd);
}

/* Publishes what is due, and returns how many milliseconds there are until something is again. */
static int go_on(void)
{
    uint64_t time = now(), end = work.began + (uint64_t)(work.seconds * SECOND);
    uint64_t due = work.rate > 0 ? work.began + (uint64_t)((double)work.done / work.rate * SECOND) : work.began;

    if (work.done == work.most || time >= end) {
        end_work();
        return -1;
    }
    if (due > end)
        due = end;
    if (time < due)
        return (int)((due - time + 999999) / 1000000);
    publish_one();
    return 0;
}

static void take_connections(void)
{
    int fd, on = 1;

    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        if (fd >= MOST_FILES) {
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        clients[fd].is_open = true;
        watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    }
}

int main(int count, char **arguments)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct epoll_event ready[512];
    int on = 1;

    if (count != 2) {
        fprintf(stderr, "usage: reference PORT\n");
        return 2;
    }
    address.sin_port = htons((uint16_t)atoi(arguments[1]));
    listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, BACKLOG))
        die("listen");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll");
    watch(listener, EPOLL_CTL_ADD, EPOLLIN);

    for (;;) {
        int pause = work.client >= 0 ? go_on() : -1;
        int number = epoll_wait(epoll, ready, 512, pause);
        for (int i = 0; i < number; i++) {
            int fd = ready[i].data.fd;
            if (fd == listener)
                take_connections();
            else if (clients[fd].is_open && ready[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))
                take_request(fd);
            else if (clients[fd].is_open)
                give_waiting(fd);
        }
    }
}
