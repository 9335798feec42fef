/*
 * Opens many event streams on one server and checks every event on every one of them.
 *
 * Usage: load PORT
 *
 * Each line on standard input is a command, each is answered with one line of JSON:
 *
 *   open COUNT CHANNELS WINDOW SLOW SILENT QUIET PATH
 *       COUNT more streams; number i reads PATH with the first "%d" replaced by i modulo CHANNELS. WINDOW connections at most
 *       wait for their header at once. The first SLOW of them never read anything after their header, and nothing is expected
 *       of them. With SILENT 1 the server sends no header before the first event, and a stream counts as open once it has asked
 *       for one. Gives up when nothing came for QUIET seconds.
 *   publish MOST QUIET PATH
 *       POSTs to PATH, which publishes MOST events at most, number i to channel i modulo CHANNELS, and answers with their
 *       number. Reads until each stream has the events of its channel. Gives up when nothing came for QUIET seconds.
 *   post MOST QUIET SECONDS RATE WINDOW TEXT PATH
 *       The same for a server that has to be told of each event: POSTs them one by one to PATH, with "%d" replaced by the
 *       channel, for SECONDS, at RATE events per second or flat out (0). WINDOW of them at most wait for their answer. Each
 *       event holds TEXT characters of filling.
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
#define LONGEST_EVENT (1 << 16)
#define MOST_STREAMS (1 << 16)
#define SMALLEST_BUFFER 4096 /* of a client that does not read: what the kernel keeps for it says nothing about the server */
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
    bool was_open, is_slow;
    struct text partial; /* a header or a line whose end is still to come */

    enum framing framing;
    uint64_t chunk_left;
    bool has_digits;

    bool has_data, is_whole; /* the event whose blank line is still to come */
    bool is_other;
    uint64_t channel, number, sent_at;

    uint8_t *seen; /* one bit per event that may come */
    uint32_t unique, next;
};

static struct sockaddr_in server;
static int epoll;
static struct stream *streams;
static uint32_t stream_count, channel_count = 1, started, opened, ended, slow;
static const char *stream_path;
static bool is_silent;

static uint32_t room;   /* events of one channel that may come */
static uint64_t published; /* events in all channels, once that is known */
static bool is_published;
static uint32_t streams_complete;

static struct {
    uint64_t failed, closed, lost, duplicated, reordered, foreign, malformed, unpublished;
} faults;

static int publisher = -1;
static struct text publisher_said;
static bool publisher_ended;

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
    if (stream->was_open)
        faults.closed++;
    else
        faults.failed++;
    stream->stage = ENDED;
    ended++;
    close(stream->fd);
    text_free(&stream->partial);
}

/* ---- events ---- */

static uint32_t expected_of(const struct stream *stream)
{
    uint64_t channel = (uint64_t)(stream - streams) % channel_count;
    return (uint32_t)(published / channel_count + (channel < published % channel_count));
}

static uint64_t count_missing(void)
{
    uint64_t missing = 0;
    for (uint32_t i = 0; i < stream_count; i++)
        if (streams[i].was_open && !streams[i].is_slow && streams[i].unique < expected_of(&streams[i])) /* the others are told as failed */
            missing += expected_of(&streams[i]) - streams[i].unique;
    return missing;
}

static void deliver(struct stream *stream)
{
    uint64_t number = stream->number;

    if (stream->is_other || !stream->is_whole) {
        faults.malformed++;
        return;
    }
    if (stream->channel != (uint64_t)(stream - streams) % channel_count || number >= room || (is_published && number >= expected_of(stream))) {
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
    if (++stream->unique == expected_of(stream) && is_published)
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
        const char *type = line + strlen("event:");
        size_t rest = length - strlen("event:");
        if (rest && *type == ' ')
            type++, rest--;
        stream->is_other = rest != strlen("message") || memcmp(type, "message", rest);
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
    if (!stream->was_open)
        opened++;
    stream->was_open = true;
    if (stream->is_slow)
        epoll_ctl(epoll, EPOLL_CTL_DEL, stream->fd, NULL); /* not even its end is noticed */

    struct text whole = *header;
    size_t body = (size_t)(end + 4 - whole.bytes);
    *header = (struct text){0};
    take_body(stream, whole.bytes + body, whole.length - body);
    text_free(&whole);
}

/* ---- connections ---- */

static int new_socket(bool is_slow)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, smallest = SMALLEST_BUFFER;
    if (fd < 0)
        die("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (is_slow)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &smallest, sizeof smallest);
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

static void request_stream(struct stream *stream)
{
    char path[512], request[1024];

    fill(path, sizeof path, stream_path, (uint32_t)(stream - streams) % channel_count);
    int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n", path);
    if (send(stream->fd, request, (size_t)length, MSG_NOSIGNAL) != length) {
        end_stream(stream);
        return;
    }
    stream->stage = HEADER;
    if (is_silent) {
        stream->was_open = true;
        opened++;
    }
    last_sign = now();
    watch(stream->fd, EPOLL_CTL_MOD, EPOLLIN, stream);
}

static void read_publisher(void)
{
    char bytes[4096];
    ssize_t length = recv(publisher, bytes, sizeof bytes, MSG_DONTWAIT);

    if (length > 0) {
        text_add(&publisher_said, bytes, (size_t)length);
        last_sign = now();
    } else if (length == 0 || (errno != EAGAIN && errno != EINTR)) {
        publisher_ended = true;
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

static void turn(int milliseconds)
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
            request_stream(stream);
        else if (stream->stage != ENDED)
            read_stream(stream);
    }
}

static bool is_quiet_for(double seconds)
{
    return (double)(now() - last_sign) > seconds * SECOND;
}

/* ---- commands ---- */

static void open_streams(uint32_t count, uint32_t channels, uint32_t window, uint32_t slow_count, double quiet)
{
    double cpu = cpu_seconds();
    uint64_t began = last_sign = now();
    uint32_t first = stream_count, opened_before = opened;

    faults.lost += count_missing();
    published = 0;
    stream_count += count;
    channel_count = channels;
    slow += slow_count;
    while (opened + ended < stream_count && !is_quiet_for(quiet)) {
        while (started < stream_count && started - opened - ended < window) {
            struct stream *stream = &streams[started++];
            stream->is_slow = started - first <= slow_count;
            stream->fd = new_socket(stream->is_slow);
            watch(stream->fd, EPOLL_CTL_ADD, EPOLLOUT, stream);
        }
        turn(100);
    }
    double seconds = (double)(now() - began) / SECOND;
    for (uint32_t i = first; i < started; i++)
        if (!streams[i].was_open)
            end_stream(&streams[i]);
    faults.failed += stream_count - started;
    stream_count = started;
    printf("{\"opened\": %u, \"seconds\": %.4f, \"load_cpu_seconds\": %.3f}\n", opened - opened_before, seconds, cpu_seconds() - cpu);
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

static void begin(uint64_t most)
{
    faults.lost += count_missing();
    room = (uint32_t)(most / channel_count + 1);
    is_published = publisher_ended = false;
    published = latency_count = deliveries = reads = 0;
    publisher_said.length = 0;
    for (uint32_t i = 0; i < stream_count; i++) {
        free(streams[i].seen);
        streams[i].seen = checked(calloc(room / 8 + 1, 1));
        streams[i].unique = streams[i].next = 0;
    }
    publisher = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (publisher < 0 || connect(publisher, (struct sockaddr *)&server, sizeof server))
        die("connect");
    watch(publisher, EPOLL_CTL_ADD, EPOLLIN, &publisher);
    last_arrival = last_sign = now();
}

/* Waits for what is still under way, and answers the command. */
static void finish(uint64_t total, double quiet, uint64_t began, double cpu, double publish_microseconds)
{
    uint64_t told = now();

    published = total;
    is_published = true;
    streams_complete = 0;
    for (uint32_t i = 0; i < stream_count; i++) {
        struct stream *stream = &streams[i];
        streams_complete += stream->was_open && !stream->is_slow && stream->unique == expected_of(stream);
        if (stream->unique > expected_of(stream))
            faults.foreign += stream->unique - expected_of(stream);
    }
    while (streams_complete < opened - slow && !is_quiet_for(quiet))
        turn(100);
    if (publisher >= 0)
        close(publisher);
    publisher = -1;
    double used = cpu_seconds() - cpu, seconds = (double)((last_arrival > told ? last_arrival : told) - began) / SECOND;
    qsort(latencies, latency_count, sizeof *latencies, by_size);
    printf("{\"published\": %lu, \"publishing_seconds\": %.4f, \"deliveries\": %lu, \"seconds\": %.4f, \"p50_milliseconds\": %.3f, \"p99_milliseconds\": %.3f, "
           "\"events_per_read\": %.2f, \"publish_microseconds\": %.3f, \"load_cpu_seconds\": %.3f}\n",
        total, (double)(told - began) / SECOND, deliveries, seconds, milliseconds_at(0.50), milliseconds_at(0.99), reads ? (double)deliveries / (double)reads : 0,
        publish_microseconds, used);
}

static void publish(uint64_t most, double quiet, const char *path)
{
    char request[1024];
    double cpu = cpu_seconds();
    uint64_t total = 0, nanoseconds = 0;

    begin(most);
    uint64_t began = now();
    int length = snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", path);
    if (send(publisher, request, (size_t)length, MSG_NOSIGNAL) != length)
        die("publish");
    /* The request asks for the connection's end, which therefore is the end of the answer. */
    while (!publisher_ended && !is_quiet_for(quiet))
        turn(100);
    struct text *said = &publisher_said;
    if (!publisher_ended || !starts_with(said->bytes, said->length, "HTTP/1.1 200 ") || !read_number(said->bytes, said->length, "\"published\"", &total)
        || !read_number(said->bytes, said->length, "\"median_nanoseconds\"", &nanoseconds))
        faults.unpublished++;
    finish(total, quiet, began, cpu, (double)nanoseconds / 1e3);
}

/* Counts the answers that have come, and forgets them but for a piece in which the next may begin. */
static uint64_t count_answers(void)
{
    static const char success[] = "HTTP/1.1 20";
    const size_t size = sizeof success - 1, any = strlen("HTTP/1.1 ");
    struct text *said = &publisher_said;
    size_t at = 0;
    uint64_t count = 0;

    for (; at + size <= said->length; at++)
        if (!memcmp(said->bytes + at, success, any)) {
            count++;
            if (memcmp(said->bytes + at, success, size))
                faults.unpublished++;
        }
    said->length -= (uint32_t)at;
    if (said->length)
        memmove(said->bytes, said->bytes + at, said->length);
    return count;
}

static void post(uint64_t most, double quiet, double seconds, double rate, uint32_t window, uint32_t text, const char *template)
{
    static char event[LONGEST_EVENT], path[512], request[sizeof event + sizeof path + 256];
    double cpu = cpu_seconds();
    uint64_t sent = 0, answered = 0, sent_at = 0;
    uint32_t *waits = checked(malloc((most + 1) * sizeof *waits));
    uint64_t waited = 0;

    begin(most);
    uint64_t began = now(), end = began + (uint64_t)(seconds * SECOND);
    while (!publisher_ended && !is_quiet_for(quiet)) {
        uint64_t due = rate > 0 ? began + (uint64_t)((double)sent / rate * SECOND) : 0, time = now();
        bool is_over = sent == most || time >= end || due >= end;
        if (is_over && sent == answered && (rate == 0 || time >= end || time >= due))
            break;
        if (!is_over && time >= due && sent - answered < window) {
            fill(path, sizeof path, template, (uint32_t)(sent % channel_count));
            sent_at = now();
            int length = snprintf(event, sizeof event, "{\"channel\":%lu,\"seq\":%lu,\"ts\":%lu,\"text\":\"%0*d\"}", sent % channel_count,
                sent / channel_count, sent_at, (int)text, 0);
            length = snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n%s", path, length, event);
            if (send(publisher, request, (size_t)length, MSG_NOSIGNAL) != length)
                die("post");
            sent++;
            continue;
        }
        turn(time >= due || due - time > SECOND / 1000 ? 1 : 0);
        uint64_t more = count_answers();
        answered += more;
        if (window == 1 && more)
            waits[waited++] = (uint32_t)((now() - sent_at) / 1000);
    }
    qsort(waits, waited, sizeof *waits, by_size);
    uint32_t median = waited ? waits[waited / 2] : 0;
    free(waits);
    if (sent != answered)
        faults.unpublished++;
    finish(answered, quiet, began, cpu, median);
}

static void settle(double seconds)
{
    uint64_t until = now() + (uint64_t)(seconds * SECOND);

    while (now() < until)
        turn(20);
    printf("{\"failed\": %lu, \"closed\": %lu, \"lost\": %lu, \"duplicated\": %lu, \"reordered\": %lu, \"foreign\": %lu, "
           "\"malformed\": %lu, \"unpublished\": %lu}\n",
        faults.failed, faults.closed, faults.lost + count_missing(), faults.duplicated, faults.reordered, faults.foreign,
        faults.malformed, faults.unpublished);
}

int main(int count, char **arguments)
{
    char line[1024], path[512];
    static char opened_path[512];
    uint32_t streams_wanted, channels, window, slow_wanted, silent, text;
    uint64_t most;
    double seconds, quiet, rate;

    if (count != 2) {
        fprintf(stderr, "usage: load PORT\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    server = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(arguments[1]))};
    server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    stream_path = opened_path;
    streams = checked(calloc(MOST_STREAMS, sizeof *streams));
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        die("epoll");

    while (fgets(line, sizeof line, stdin)) {
        if (sscanf(line, "open %u %u %u %u %u %lf %511s", &streams_wanted, &channels, &window, &slow_wanted, &silent, &quiet, opened_path) == 7 && channels
            && streams_wanted <= MOST_STREAMS - stream_count) {
            is_silent = silent;
            open_streams(streams_wanted, channels, window, slow_wanted, quiet);
        } else if (sscanf(line, "publish %lu %lf %511s", &most, &quiet, path) == 3)
            publish(most, quiet, path);
        else if (sscanf(line, "post %lu %lf %lf %lf %u %u %511s", &most, &quiet, &seconds, &rate, &window, &text, path) == 7 && text < LONGEST_EVENT - 256)
            post(most, quiet, seconds, rate, window, text, path);
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
