/*
 * Opens many event streams on one server and checks every event on every one of them.
 *
 * Usage: load PORT
 *
 * Each line on standard input is a command, each is answered with one line of JSON:
 *
 *   open COUNT CHANNELS WINDOW QUIET PATH
 *       COUNT streams; number i reads PATH with the first "%d" replaced by i modulo CHANNELS. WINDOW connections at most
 *       wait for their header at once. Gives up when none came for QUIET seconds.
 *   publish EVENTS QUIET PATH
 *       POSTs to PATH and reads until each stream has EVENTS events, numbered from 0. Gives up when nothing came for QUIET seconds.
 *   settle SECONDS
 *       Goes on reading, so that duplicates and hang-ups show, and answers with everything that was wrong since the start.
 *
 * An event is one "data:" line of JSON with "channel", "seq" (without gaps per channel) and "ts" (CLOCK_MONOTONIC, nanoseconds).
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
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LONGEST_HEADER 16384
#define LONGEST_LINE (1 << 20)
#define SECOND 1000000000ull

enum stage { CONNECTING, HEADER, BODY, ENDED };
enum framing { SIZE, EXTENSION, CONTENT, AFTER_CONTENT, LAST_CHUNK, PLAIN };

struct text {
    char *bytes;
    uint32_t length, room;
};

struct stream {
    int fd;
    enum stage stage;
    bool was_open;
    struct text partial; /* a header or a line whose end is still to come */

    enum framing framing;
    uint64_t chunk_left;
    bool has_digits;

    bool has_data, is_whole; /* the event whose blank line is still to come */
    bool is_other;
    uint64_t channel, number, sent_at;

    uint8_t *seen; /* one bit per event */
    uint32_t unique, next;
};

static struct sockaddr_in server;
static int epoll;
static struct stream *streams;
static uint32_t stream_count, channel_count, started, opened, ended;
static uint32_t events_expected, streams_complete;

static struct {
    uint64_t failed, closed, lost, duplicated, reordered, foreign, malformed, unpublished;
} faults;

static int publisher = -1;
static char publisher_answer[64];
static uint32_t publisher_length;
static bool publisher_answered;

static uint32_t *latencies; /* microseconds */
static size_t latency_count, latency_room;
static uint64_t deliveries, reads, last_arrival, last_sign;

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * SECOND + (uint64_t)time.tv_nsec;
}

static double cpu_seconds(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6;
}

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void *checked(void *memory)
{
    if (!memory)
        die("memory");
    return memory;
}

static void text_add(struct text *text, const char *bytes, size_t length)
{
    if (text->length + length > text->room) {
        text->room = (uint32_t)(text->length + length) * 2;
        text->bytes = checked(realloc(text->bytes, text->room));
    }
    memcpy(text->bytes + text->length, bytes, length);
    text->length += (uint32_t)length;
}

static void text_free(struct text *text)
{
    free(text->bytes);
    *text = (struct text){0};
}

static void end_stream(struct stream *stream)
{
    if (stream->stage == ENDED)
        return;
    if (stream->stage == BODY)
        faults.closed++;
    else
        faults.failed++;
    stream->stage = ENDED;
    ended++;
    close(stream->fd);
    text_free(&stream->partial);
}

/* ---- events ---- */

static void deliver(struct stream *stream)
{
    uint64_t number = stream->number;

    if (stream->is_other || !stream->is_whole) {
        faults.malformed++;
        return;
    }
    if (stream->channel != (uint64_t)(stream - streams) % channel_count || number >= events_expected) {
        faults.foreign++;
        return;
    }
    deliveries++;
    uint8_t bit = (uint8_t)(1u << (number % 8));
    if (stream->seen[number / 8] & bit) {
        faults.duplicated++;
        return;
    }
    stream->seen[number / 8] |= bit;
    if (number < stream->next)
        faults.reordered++;
    else
        stream->next = (uint32_t)number + 1;
    if (++stream->unique == events_expected)
        streams_complete++;
    if (latency_count == latency_room) {
        latency_room = latency_room ? latency_room * 2 : 1 << 16;
        latencies = checked(realloc(latencies, latency_room * sizeof *latencies));
    }
    latencies[latency_count++] = (uint32_t)((last_arrival - stream->sent_at) / 1000);
}

/* Reads the number behind a name; false when it is not there. */
static bool read_number(const char *json, size_t length, const char *name, uint64_t *number)
{
    const char *end = json + length, *at = memmem(json, length, name, strlen(name));

    if (!at)
        return false;
    at += strlen(name);
    while (at < end && (*at == ' ' || *at == ':'))
        at++;
    if (at == end || *at < '0' || *at > '9')
        return false;
    for (*number = 0; at < end && *at >= '0' && *at <= '9'; at++)
        *number = *number * 10 + (uint64_t)(*at - '0');
    return true;
}

static bool starts_with(const char *line, size_t length, const char *prefix)
{
    return length >= strlen(prefix) && !memcmp(line, prefix, strlen(prefix));
}

static void take_line(struct stream *stream, const char *line, size_t length)
{
    if (length && line[length - 1] == '\r')
        length--;
    if (!length) {
        if (stream->has_data)
            deliver(stream);
        stream->has_data = stream->is_other = false;
    } else if (starts_with(line, length, "data:")) {
        /* All fields of an event are on its one line, so a second line is as wrong as a line cut short. */
        stream->is_whole = !stream->has_data && line[length - 1] == '}' && !memchr(line, '\r', length)
            && read_number(line, length, "\"channel\"", &stream->channel) && read_number(line, length, "\"seq\"", &stream->number)
            && read_number(line, length, "\"ts\"", &stream->sent_at);
        stream->has_data = true;
    } else if (starts_with(line, length, "event:")) {
        /* sse.reset, for one, which tells of a gap; "message" is what an event without a type is. */
        stream->is_other = !starts_with(line, length, "event: message") || length != strlen("event: message");
    }
}

static void take_content(struct stream *stream, const char *bytes, size_t length)
{
    const char *end = bytes + length;

    while (bytes < end) {
        const char *feed = memchr(bytes, '\n', (size_t)(end - bytes));
        if (!feed) {
            if (stream->partial.length > LONGEST_LINE) {
                faults.malformed++;
                stream->partial.length = 0;
            }
            text_add(&stream->partial, bytes, (size_t)(end - bytes));
            return;
        }
        if (stream->partial.length) {
            text_add(&stream->partial, bytes, (size_t)(feed - bytes));
            take_line(stream, stream->partial.bytes, stream->partial.length);
            stream->partial.length = 0;
        } else {
            take_line(stream, bytes, (size_t)(feed - bytes));
        }
        bytes = feed + 1;
    }
}

/* ---- HTTP ---- */

static int hex(char letter)
{
    if (letter >= '0' && letter <= '9')
        return letter - '0';
    letter |= 32;
    return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : -1;
}

/* Takes one byte of what stands around the content of chunks; false when it must not stand there. */
static bool take_framing(struct stream *stream, char byte)
{
    switch (stream->framing) {
    case SIZE:
        if (hex(byte) >= 0) {
            stream->chunk_left = stream->chunk_left * 16 + (uint64_t)hex(byte);
            stream->has_digits = true;
            return stream->chunk_left < (1ull << 40);
        }
        if (!stream->has_digits)
            return false;
        stream->framing = EXTENSION;
        /* fall through */
    case EXTENSION:
        if (byte == '\n')
            stream->framing = stream->chunk_left ? CONTENT : LAST_CHUNK;
        return true;
    case AFTER_CONTENT:
        if (byte == '\n') {
            stream->framing = SIZE;
            stream->has_digits = false;
        }
        return byte == '\n' || byte == '\r';
    default:
        return true;
    }
}

static void take_body(struct stream *stream, const char *bytes, size_t length)
{
    if (stream->framing == PLAIN) {
        take_content(stream, bytes, length);
        return;
    }
    while (length && stream->stage == BODY) {
        if (stream->framing == CONTENT) {
            size_t part = length < stream->chunk_left ? length : (size_t)stream->chunk_left;
            take_content(stream, bytes, part);
            stream->chunk_left -= part;
            if (!stream->chunk_left)
                stream->framing = AFTER_CONTENT;
            bytes += part;
            length -= part;
        } else {
            if (!take_framing(stream, *bytes)) {
                faults.malformed++;
                end_stream(stream);
            } else if (stream->framing == LAST_CHUNK) {
                end_stream(stream); /* the server ended the response */
            }
            bytes++;
            length--;
        }
    }
}

static void take_header(struct stream *stream, const char *bytes, size_t length)
{
    struct text *header = &stream->partial;

    text_add(header, bytes, length);
    char *end = memmem(header->bytes, header->length, "\r\n\r\n", 4);
    if (!end) {
        if (header->length > LONGEST_HEADER)
            end_stream(stream);
        return;
    }
    *end = 0;
    if (!starts_with(header->bytes, header->length, "HTTP/1.1 200 ") || !strcasestr(header->bytes, "\r\nContent-Type: text/event-stream")) {
        end_stream(stream);
        return;
    }
    stream->framing = strcasestr(header->bytes, "\r\nTransfer-Encoding: chunked") ? SIZE : PLAIN;
    stream->stage = BODY;
    stream->was_open = true;
    opened++;

    struct text whole = *header;
    size_t body = (size_t)(end + 4 - whole.bytes);
    *header = (struct text){0};
    take_body(stream, whole.bytes + body, whole.length - body);
    text_free(&whole);
}

/* ---- connections ---- */

static int new_socket(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;
    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(fd, (struct sockaddr *)&server, sizeof server) && errno != EINPROGRESS)
        die("connect");
    return fd;
}

static void watch(int fd, int operation, uint32_t what, void *owner)
{
    struct epoll_event event = {.events = what, .data.ptr = owner};
    if (epoll_ctl(epoll, operation, fd, &event))
        die("epoll_ctl");
}

/* Puts the number in the place of "%d". The template is an argument, so it must never be a format. */
static void fill(char *path, size_t room, const char *template, uint32_t number)
{
    const char *mark = strstr(template, "%d");
    if (mark)
        snprintf(path, room, "%.*s%u%s", (int)(mark - template), template, number, mark + 2);
    else
        snprintf(path, room, "%s", template);
}

static void request_stream(struct stream *stream, const char *template)
{
    char path[512], request[1024];

    fill(path, sizeof path, template, (uint32_t)(stream - streams) % channel_count);
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n", path);
    if (send(stream->fd, request, (size_t)length, MSG_NOSIGNAL) != length) {
        end_stream(stream);
        return;
    }
    stream->stage = HEADER;
    watch(stream->fd, EPOLL_CTL_MOD, EPOLLIN, stream);
}

static void read_publisher(void)
{
    char bytes[4096];
    ssize_t length = recv(publisher, bytes, sizeof bytes, 0);

    if (length > 0) {
        for (ssize_t i = 0; i < length && publisher_length < sizeof publisher_answer - 1; i++)
            publisher_answer[publisher_length++] = bytes[i];
    } else if (length == 0 || (errno != EAGAIN && errno != EINTR)) {
        /* The request asks for the connection's end, which therefore is the end of the answer. */
        publisher_answered = true;
        close(publisher);
        publisher = -1;
    }
}

static void read_stream(struct stream *stream)
{
    static char bytes[1 << 18];
    ssize_t length = recv(stream->fd, bytes, sizeof bytes, 0);

    if (length > 0) {
        last_arrival = last_sign = now();
        reads++;
        if (stream->stage == HEADER)
            take_header(stream, bytes, (size_t)length);
        else
            take_body(stream, bytes, (size_t)length);
    } else if (length == 0 || (errno != EAGAIN && errno != EINTR)) {
        end_stream(stream);
    }
}

static void turn(const char *template, int milliseconds)
{
    struct epoll_event ready[512];
    int count = epoll_wait(epoll, ready, 512, milliseconds);

    for (int i = 0; i < count; i++) {
        struct stream *stream = ready[i].data.ptr;
        if (ready[i].data.ptr == &publisher)
            read_publisher();
        else if (stream->stage == CONNECTING && ready[i].events & (EPOLLERR | EPOLLHUP))
            end_stream(stream);
        else if (stream->stage == CONNECTING)
            request_stream(stream, template);
        else if (stream->stage != ENDED)
            read_stream(stream);
    }
}

static bool is_quiet_for(double seconds)
{
    return (double)(now() - last_sign) > seconds * SECOND;
}

/* ---- commands ---- */

static void open_streams(uint32_t count, uint32_t channels, uint32_t window, double quiet, const char *template)
{
    double cpu = cpu_seconds();
    uint64_t began = last_sign = now();

    stream_count = count;
    channel_count = channels;
    streams = checked(calloc(count, sizeof *streams));
    while (opened + ended < count && !is_quiet_for(quiet)) {
        while (started < count && started - opened - ended < window) {
            struct stream *stream = &streams[started++];
            stream->fd = new_socket();
            watch(stream->fd, EPOLL_CTL_ADD, EPOLLOUT, stream);
        }
        turn(template, 100);
    }
    double seconds = (double)(now() - began) / SECOND;
    for (uint32_t i = 0; i < started; i++)
        if (streams[i].stage < BODY)
            end_stream(&streams[i]);
    faults.failed += count - started;
    printf("{\"opened\": %u, \"seconds\": %.4f, \"load_cpu_seconds\": %.3f}\n", opened, seconds, cpu_seconds() - cpu);
}

static int by_size(const void *left, const void *right)
{
    uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
    return (a > b) - (a < b);
}

static double milliseconds_at(double part)
{
    return latency_count ? latencies[(size_t)(part * (double)(latency_count - 1))] / 1000.0 : 0;
}

static uint64_t count_missing(void)
{
    uint64_t missing = 0;
    for (uint32_t i = 0; i < stream_count; i++)
        if (streams[i].was_open) /* the others are told as failed */
            missing += events_expected - streams[i].unique;
    return missing;
}

static void publish(uint32_t events, double quiet, const char *path)
{
    char request[1024];

    faults.lost += count_missing();
    events_expected = events;
    streams_complete = 0;
    latency_count = deliveries = reads = 0;
    for (uint32_t i = 0; i < stream_count; i++) {
        free(streams[i].seen);
        streams[i].seen = checked(calloc(events / 8 + 1, 1));
        streams[i].unique = streams[i].next = 0;
    }

    double cpu = cpu_seconds();
    publisher_length = 0;
    publisher_answered = false;
    publisher = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (publisher < 0 || connect(publisher, (struct sockaddr *)&server, sizeof server))
        die("connect");
    watch(publisher, EPOLL_CTL_ADD, EPOLLIN, &publisher);
    int length = snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", path);
    uint64_t began = last_arrival = last_sign = now();
    if (send(publisher, request, (size_t)length, MSG_NOSIGNAL) != length)
        die("publish");

    while (!(publisher_answered && streams_complete == opened) && !is_quiet_for(quiet))
        turn("", 100);
    if (publisher >= 0)
        close(publisher);
    publisher = -1;
    publisher_answer[publisher_length] = 0;
    if (!publisher_answered || strncmp(publisher_answer, "HTTP/1.1 200 ", 13))
        faults.unpublished++;
    double cpu_used = cpu_seconds() - cpu, seconds = (double)(last_arrival - began) / SECOND;
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    printf("{\"deliveries\": %lu, \"seconds\": %.4f, \"p50_milliseconds\": %.3f, \"p99_milliseconds\": %.3f, "
           "\"events_per_read\": %.2f, \"load_cpu_seconds\": %.3f}\n",
        deliveries, seconds, milliseconds_at(0.50), milliseconds_at(0.99), reads ? (double)deliveries / (double)reads : 0, cpu_used);
}

static void settle(double seconds)
{
    uint64_t until = now() + (uint64_t)(seconds * SECOND);

    while (now() < until)
        turn("", 20);
    printf("{\"failed\": %lu, \"closed\": %lu, \"lost\": %lu, \"duplicated\": %lu, \"reordered\": %lu, \"foreign\": %lu, "
           "\"malformed\": %lu, \"unpublished\": %lu}\n",
        faults.failed, faults.closed, faults.lost + count_missing(), faults.duplicated, faults.reordered, faults.foreign,
        faults.malformed, faults.unpublished);
}

int main(int count, char **arguments)
{
    char line[1024], path[512];
    uint32_t streams_wanted, channels, window, events;
    double seconds;

    if (count != 2) {
        fprintf(stderr, "usage: load PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll");

    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "open %u %u %u %lf %511s", &streams_wanted, &channels, &window, &seconds, path) == 5 && channels && !streams)
            open_streams(streams_wanted, channels, window, seconds, path);
        else if (sscanf(line, "publish %u %lf %511s", &events, &seconds, path) == 3 && streams)
            publish(events, seconds, path);
        else if (sscanf(line, "settle %lf", &seconds) == 1)
            settle(seconds);
        else {
            fprintf(stderr, "load: not a command here: %s", line);
            return 2;
        }
        fflush(stdout);
    }
    return 0;
}
