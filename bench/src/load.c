// The load: one thread, keep-alive connections, one request at a time on each; prints one line of JSON.
//   load PORT BODY_FILE KEY [-c CONNECTIONS] [-d SECONDS] [-n REQUESTS] [-r RATE] [-e EVENTS]
// Without -r a connection asks again as soon as it has its answer (closed loop). With -r requests are due RATE times a
// second whatever the gateway does, and latency counts from when a request was due: a gateway that stalls is charged
// for those that waited. -e: answers are streams of so many events. Every answer is checked; see answer.h.
#include "answer.h"

enum { INPUT = 1 << 17, PATIENCE_S = 10 };

struct connection {
  int fd;
  int busy, watching_write;
  size_t written;
  uint64_t asked_ns, first_ns;
  struct connection *idle_next;
  struct answer answer;
};

static int loop, port, connections = 32, expected_events;
static double seconds = 5, rate;
static uint64_t limit = UINT64_MAX;
static char *request, input[INPUT];
static size_t request_length;
static struct connection *idle;
static uint64_t start_ns, end_ns, last_ns, next_due_ns;
static uint64_t sent, good, bad, broken, reconnects;
static char first_fault[512];
static uint32_t *latency_us, *first_byte_us;
static size_t measured, measured_room;

static void note_fault(const char *fault) {
  if (first_fault[0]) return;
  snprintf(first_fault, sizeof first_fault, "%s", fault);
  for (char *at = first_fault; *at; at++)  // it goes into a JSON string
    if (*at == '"' || *at == '\\' || (unsigned char)*at < ' ') *at = '\'';
}

static void connect_again(struct connection *c) {
  if (c->fd >= 0) {
    close(c->fd);
    reconnects++;
  }
  c->busy = c->watching_write = 0;
  if ((c->fd = dial(port)) < 0) die("connect");
  no_blocking(c->fd);
  loop_add(loop, c->fd, c);
}

static void write_on(struct connection *c) {
  while (c->written < request_length) {
    ssize_t done = send(c->fd, request + c->written, request_length - c->written, 0);
    if (done < 0) break;  // full: go on when there is room; gone: the read will say so
    c->written += (size_t)done;
  }
  int more = c->written < request_length;
  if (more != c->watching_write) loop_watch_write(loop, c->fd, c, c->watching_write = more);
}

static void ask(struct connection *c, uint64_t due_ns) {
  c->busy = 1;
  c->asked_ns = due_ns;
  c->first_ns = 0;
  c->written = 0;
  answer_expect(&c->answer);
  sent++;
  write_on(c);
}

static void measure(struct connection *c, uint64_t now) {
  if (measured == measured_room) {
    measured_room = measured_room ? 2 * measured_room : 1 << 16;
    latency_us = realloc(latency_us, measured_room * sizeof *latency_us);
    first_byte_us = realloc(first_byte_us, measured_room * sizeof *first_byte_us);
  }
  latency_us[measured] = (uint32_t)((now - c->asked_ns) / 1000);
  first_byte_us[measured++] = (uint32_t)((c->first_ns - c->asked_ns) / 1000);
}

static int may_ask(uint64_t now) { return now < end_ns && sent < limit; }

// What a connection does once it is free: ask again, or wait until a request is due.
static void next(struct connection *c, uint64_t now) {
  if (!rate) {
    if (may_ask(now)) ask(c, now);
    return;
  }
  c->idle_next = idle;
  idle = c;
}

static void ask_what_is_due(uint64_t now) {
  while (rate && idle && next_due_ns <= now && next_due_ns < end_ns && sent < limit) {
    struct connection *c = idle;
    idle = c->idle_next;
    ask(c, next_due_ns);
    next_due_ns += (uint64_t)(SECOND_NS / rate);
  }
}

static void finish(struct connection *c, uint64_t now) {
  const char *fault = answer_fault(&c->answer, expected_events);
  c->busy = 0;
  last_ns = now;
  measure(c, now);
  if (fault) {
    bad++;
    note_fault(fault);
  } else {
    good++;
  }
  if (c->answer.closes || c->answer.part == BROKEN || c->watching_write) connect_again(c);
  next(c, now);
}

static void lost(struct connection *c, uint64_t now) {
  int was_busy = c->busy;
  if (was_busy) {
    broken++;
    note_fault("the connection closed before the answer ended");
  }
  connect_again(c);
  if (was_busy) next(c, now);
}

static void receive(struct connection *c, uint64_t now) {
  ssize_t got = recv(c->fd, input, sizeof input, 0);
  if (got < 0 && would_block()) return;
  if (got <= 0 || !c->busy) {
    lost(c, now);
    return;
  }
  if (!c->first_ns) c->first_ns = now;
  answer_read(&c->answer, input, (size_t)got, expected_events > 0);
  if (c->answer.part >= COMPLETE) finish(c, now);
}

static int64_t wait_ns(uint64_t now) {
  uint64_t until = now < end_ns ? end_ns : end_ns + (uint64_t)PATIENCE_S * SECOND_NS;
  if (rate && idle && next_due_ns < until && may_ask(now)) until = next_due_ns;
  return until > now ? (int64_t)(until - now) : 0;
}

static void run(struct connection *all) {
  struct ready events[BATCH];
  start_ns = last_ns = next_due_ns = now_ns();
  end_ns = start_ns + (uint64_t)(seconds * SECOND_NS);
  for (int i = 0; i < connections; i++) next(&all[i], start_ns);
  for (;;) {
    uint64_t now = now_ns();
    ask_what_is_due(now);
    int over = !may_ask(now), waiting = sent > good + bad + broken;
    if (over && (!waiting || now > end_ns + (uint64_t)PATIENCE_S * SECOND_NS)) return;
    int count = loop_wait(loop, events, wait_ns(now));
    now = now_ns();
    for (int i = 0; i < count; i++) {
      struct connection *c = events[i].owner;
      if (events[i].can_write)
        write_on(c);
      else
        receive(c, now);
    }
  }
}

static int by_size(const void *a, const void *b) {
  uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
  return (x > y) - (x < y);
}

static double quantile_ms(const uint32_t *sorted, double q) {
  return measured ? sorted[(size_t)(q * (double)(measured - 1) + 0.5)] / 1000.0 : -1;
}

static void report(void) {
  uint64_t unanswered = sent - good - bad - broken;
  double lasted = (double)(last_ns - start_ns) / SECOND_NS;
  if (unanswered) note_fault("no answer within the patience of the load");
  if (measured) {
    qsort(latency_us, measured, sizeof *latency_us, by_size);
    qsort(first_byte_us, measured, sizeof *first_byte_us, by_size);
  }
  printf("{\"sent\": %llu, \"good\": %llu, \"bad\": %llu, \"reconnects\": %llu, ", (unsigned long long)sent,
         (unsigned long long)good, (unsigned long long)(bad + broken + unanswered), (unsigned long long)reconnects);
  printf("\"seconds\": %.4f, \"per_second\": %.1f, ", lasted, lasted > 0 ? (double)good / lasted : 0);
  printf("\"p50_ms\": %.3f, \"p99_ms\": %.3f, \"first_byte_p50_ms\": %.3f, \"fault\": \"%s\"}\n",
         quantile_ms(latency_us, .5), quantile_ms(latency_us, .99), quantile_ms(first_byte_us, .5), first_fault);
}

static void write_request(const char *path, const char *key) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END)) die(path);
  size_t body = (size_t)ftell(file), head;
  rewind(file);
  request = malloc(body + 1024);
  head = (size_t)snprintf(request, 1024,
                          "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\n"
                          "user-agent: OpenAI/Python 2.0.0\r\naccept: application/json\r\n"
                          "authorization: Bearer %s\r\ncontent-type: application/json\r\n"
                          "content-length: %zu\r\n\r\n",
                          port, key, body);
  if (fread(request + head, 1, body, file) != body) die(path);
  fclose(file);
  request_length = head + body;
}

int main(int argc, char **argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: load PORT BODY_FILE KEY [-c CONNECTIONS] [-d SECONDS] [-n REQUESTS] [-r RATE] "
                    "[-e EVENTS]\n");
    return 2;
  }
  port = atoi(argv[1]);
  for (int i = 4; i + 1 < argc; i += 2) {
    switch (argv[i][1]) {
      case 'c': connections = atoi(argv[i + 1]); break;
      case 'd': seconds = atof(argv[i + 1]); break;
      case 'n': limit = strtoull(argv[i + 1], NULL, 10); break;
      case 'r': rate = atof(argv[i + 1]); break;
      case 'e': expected_events = atoi(argv[i + 1]); break;
    }
  }
  signal(SIGPIPE, SIG_IGN);
  write_request(argv[2], argv[3]);
  loop = loop_new();
  struct connection *all = calloc((size_t)connections, sizeof *all);
  for (int i = 0; i < connections; i++) {
    all[i].fd = -1;
    connect_again(&all[i]);
  }
  run(all);
  report();
  return 0;
}
