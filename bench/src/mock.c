// The cheapest possible OpenAI-compatible provider: one thread, answers written before the first request comes.
//   mock PORT [CHUNK_US]
// A request whose body has "stream": true gets 53 events CHUNK_US apart (default 2000): the role, 50 pieces of text,
// the usage, [DONE]. Any other POST gets one answer of about 700 bytes with usage. GET anything: {"calls": N} so far.
// It must stay cheaper than any gateway in front of it, or the load would measure this program.
#include "net.h"

enum { PIECES = 50, EVENTS = PIECES + 3, FIRST_ROOM = 1 << 14 };

struct connection {
  int fd;
  char *input;
  size_t length, room;
  int next_event;  // of the stream being sent; 0 when none is
  uint64_t due_ns;
  struct connection *later;  // in the queue of streams
};

struct text {
  char bytes[1024];
  size_t length;
};

static int loop;
static uint64_t chunk_ns = 2 * MILLISECOND_NS, calls;
static struct text whole, events[EVENTS];
// Every wait is equally long, so a queue in order of arrival is also in order of what is due: no heap is needed.
static struct connection *first_due, *last_due;

static const char ANSWER[] =
    "{\"id\":\"chatcmpl-BenchAbCdEfGhIjKlMnOp\",\"object\":\"chat.completion\",\"created\":1760000000,"
    "\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"The invoice "
    "total is 1,284.50 EUR. It is due on the 14th; two of the nine lines are credits.\",\"refusal\":null,"
    "\"annotations\":[]},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":214,"
    "\"completion_tokens\":31,\"total_tokens\":245,\"prompt_tokens_details\":{\"cached_tokens\":0,\"audio_tokens\":0},"
    "\"completion_tokens_details\":{\"reasoning_tokens\":0,\"audio_tokens\":0}},\"service_tier\":\"default\","
    "\"system_fingerprint\":\"fp_bench01\"}";
static const char EVENT_START[] =
    "data: {\"id\":\"chatcmpl-BenchAbCdEfGhIjKlMnOp\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,"
    "\"model\":\"gpt-4o-mini\",\"service_tier\":\"default\",\"system_fingerprint\":\"fp_bench01\",\"choices\":";
static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n"
    "x-request-id: req_bench\r\n\r\n";

// One HTTP chunk around `event`, with bytes before and after it that go out in the same write.
static void set_event(int index, const char *before, const char *event, const char *after) {
  struct text *out = &events[index];
  int length = snprintf(out->bytes, sizeof out->bytes, "%s%zx\r\n%s\r\n%s", before, strlen(event), event, after);
  out->length = (size_t)length;
}

static void write_answers(void) {
  char event[768];
  whole.length = (size_t)snprintf(whole.bytes, sizeof whole.bytes,
                                  "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n"
                                  "x-request-id: req_bench\r\nopenai-processing-ms: 1\r\n\r\n%s",
                                  strlen(ANSWER), ANSWER);
  snprintf(event, sizeof event,
           "%s[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"logprobs\":null,"
           "\"finish_reason\":null}],\"usage\":null}\n\n",
           EVENT_START);
  set_event(0, STREAM_HEAD, event, "");
  for (int i = 1; i <= PIECES; i++) {
    snprintf(event, sizeof event,
             "%s[{\"index\":0,\"delta\":{\"content\":\" tok%d\"},\"logprobs\":null,\"finish_reason\":%s}],"
             "\"usage\":null}\n\n",
             EVENT_START, i, i == PIECES ? "\"stop\"" : "null");
    set_event(i, "", event, "");
  }
  snprintf(event, sizeof event,
           "%s[],\"usage\":{\"prompt_tokens\":214,\"completion_tokens\":%d,\"total_tokens\":%d}}\n\n", EVENT_START,
           PIECES, 214 + PIECES);
  set_event(PIECES + 1, "", event, "");
  set_event(PIECES + 2, "", "data: [DONE]\n\n", "0\r\n\r\n");
}

static void unqueue(struct connection *gone) {
  struct connection *before = NULL;
  for (struct connection *c = first_due; c; before = c, c = c->later) {
    if (c != gone) continue;
    if (before) before->later = c->later;
    else first_due = c->later;
    if (last_due == c) last_due = before;
    return;
  }
}

static void enqueue(struct connection *c) {
  c->later = NULL;
  if (first_due) last_due->later = c;
  else first_due = c;
  last_due = c;
}

static void drop(struct connection *c) {
  unqueue(c);
  close(c->fd);
  c->fd = -1;
}

// An answer is far smaller than a socket buffer: a write that does not fit means a reader that has stopped reading.
static void put(struct connection *c, const char *bytes, size_t length) {
  if (send(c->fd, bytes, length, MSG_DONTWAIT) != (ssize_t)length) drop(c);
}

static void put_event(struct connection *c) {
  const struct text *event = &events[c->next_event++];
  if (c->next_event == EVENTS) c->next_event = 0;
  put(c, event->bytes, event->length);
}

static int wants_stream(const char *body, size_t length) {
  static const char KEY[] = "\"stream\":";  // inside a string the quotes would have backslashes
  const char *end = body + length, *at = memmem(body, length, KEY, sizeof KEY - 1);
  if (!at) return 0;
  for (at += sizeof KEY - 1; at < end && *at == ' '; at++) continue;
  return end - at >= 4 && !memcmp(at, "true", 4);
}

static void answer(struct connection *c, const char *body, size_t length) {
  char text[160], json[40];
  if (!memcmp(c->input, "GET ", 4)) {
    int size = snprintf(json, sizeof json, "{\"calls\": %llu}", (unsigned long long)calls);
    size = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s", size, json);
    put(c, text, (size_t)size);
    return;
  }
  calls++;
  if (!wants_stream(body, length)) {
    put(c, whole.bytes, whole.length);
    return;
  }
  c->next_event = 0;
  put_event(c);
  if (c->fd < 0) return;
  c->due_ns = now_ns() + chunk_ns;
  enqueue(c);
}

// Answers the requests that are there in full, one at a time. Bodies come with a length; chunked ones are refused.
static void serve(struct connection *c) {
  while (c->fd >= 0 && c->length > 4 && !c->next_event) {
    const char *blank = memmem(c->input, c->length, "\r\n\r\n", 4);
    if (!blank) return;
    size_t head = (size_t)(blank - c->input) + 4;
    const char *given = header_value(c->input, head, "content-length:");
    size_t body = given ? strtoul(given, NULL, 10) : 0;
    if (header_value(c->input, head, "transfer-encoding:")) {
      drop(c);
      return;
    }
    if (c->length < head + body) return;
    answer(c, c->input + head, body);
    c->length -= head + body;
    memmove(c->input, c->input + head + body, c->length);
  }
}

static void receive(struct connection *c) {
  if (c->room - c->length < FIRST_ROOM / 2) c->input = realloc(c->input, c->room *= 2);
  ssize_t got = recv(c->fd, c->input + c->length, c->room - c->length, MSG_DONTWAIT);
  if (got < 0 && would_block()) return;
  if (got <= 0) {
    drop(c);
    return;
  }
  c->length += (size_t)got;
  serve(c);
}

// Connections stay allocated after they close, as events of the same batch may name them: one load opens a few dozen.
static void accept_all(int listener) {
  for (int fd; (fd = accept_one(listener)) >= 0;) {
    struct connection *c = calloc(1, sizeof *c);
    c->fd = fd;
    c->input = malloc(c->room = FIRST_ROOM);
    loop_add(loop, fd, c);
  }
}

static void send_due(void) {
  uint64_t now = first_due ? now_ns() : 0;
  while (first_due && first_due->due_ns <= now) {
    struct connection *c = first_due;
    first_due = c->later;
    if (!first_due) last_due = NULL;
    put_event(c);
    if (c->fd < 0) continue;
    if (c->next_event) {
      c->due_ns += chunk_ns;  // from when it was due, so a late wake-up does not stretch the stream
      enqueue(c);
    } else {
      serve(c);
    }
  }
}

int main(int argc, char **argv) {
  if (argc < 2) {
    fprintf(stderr, "usage: mock PORT [CHUNK_US]\n");
    return 2;
  }
  if (argc > 2) chunk_ns = strtoull(argv[2], NULL, 10) * 1000;
  signal(SIGPIPE, SIG_IGN);
  write_answers();
  struct connection listener = {.fd = listen_at(atoi(argv[1]))};
  struct ready batch[BATCH];
  loop = loop_new();
  loop_add(loop, listener.fd, &listener);
  for (;;) {
    uint64_t now = first_due ? now_ns() : 0;
    int64_t wait_ns = !first_due ? -1 : first_due->due_ns > now ? (int64_t)(first_due->due_ns - now) : 0;
    int count = loop_wait(loop, batch, wait_ns);
    for (int i = 0; i < count; i++) {
      struct connection *c = batch[i].owner;
      if (c == &listener)
        accept_all(listener.fd);
      else if (c->fd >= 0)
        receive(c);
    }
    send_due();
  }
}
