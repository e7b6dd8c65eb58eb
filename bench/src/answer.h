// Reads one HTTP answer, in any pieces, and says whether it was right: status 200, whole, and ending as it must.
#ifndef BENCH_ANSWER_H
#define BENCH_ANSWER_H
#include "net.h"

enum part { HEAD, BODY, CHUNK_SIZE, CHUNK_DATA, CHUNK_END, LAST_LINE, COMPLETE, BROKEN };
enum { HEAD_ROOM = 1 << 14, SHOWN = 200 };

static const char DONE_EVENT[] = "data: [DONE]\n\n";
enum { TAIL = sizeof DONE_EVENT - 1 };

struct answer {
  enum part part;
  int status, closes;
  uint64_t left;   // bytes of the body, or of this chunk, still to come
  uint64_t bytes;  // of the body so far
  int events;      // blank lines seen: one ends each server-sent event
  size_t head_length;
  char tail[TAIL];  // the last bytes of the body
  char head[HEAD_ROOM];
  char shown[SHOWN];  // the start of the body, kept where the status is not 200
};

static inline void answer_expect(struct answer *a) {
  a->part = HEAD;
  a->status = a->closes = a->events = 0;
  a->left = a->bytes = a->head_length = 0;
  memset(a->tail, 0, TAIL);
}

static inline void read_headers(struct answer *a, size_t length) {
  const char *value;
  a->status = length > 12 ? atoi(a->head + 9) : 0;
  value = header_value(a->head, length, "connection:");
  a->closes = value && !strncasecmp(value + (*value == ' '), "close", 5);
  if ((value = header_value(a->head, length, "content-length:"))) {
    a->left = strtoull(value, NULL, 10);
    a->part = a->left ? BODY : COMPLETE;
  } else if (header_value(a->head, length, "transfer-encoding:")) {
    a->part = CHUNK_SIZE;
  } else {
    a->part = BROKEN;
  }
}

// Takes bytes of the head; returns how many of them belonged to it.
static inline size_t read_head(struct answer *a, const char *bytes, size_t length) {
  size_t room = HEAD_ROOM - a->head_length, take = length < room ? length : room, before = a->head_length;
  memcpy(a->head + before, bytes, take);
  a->head_length += take;
  const char *blank = memmem(a->head, a->head_length, "\r\n\r\n", 4);
  if (!blank) {
    if (take == room) a->part = BROKEN;
    return take;
  }
  size_t head = (size_t)(blank - a->head) + 4;
  read_headers(a, head);
  return head - before;
}

static inline void note_body(struct answer *a, const char *bytes, size_t length, int is_stream) {
  if (is_stream) {
    char before = a->tail[TAIL - 1];
    const char *end = bytes + length;
    for (const char *at = bytes; (at = memchr(at, '\n', (size_t)(end - at))) != NULL; at++)
      a->events += (at > bytes ? at[-1] : before) == '\n';
  }
  if (a->status != 200 && a->bytes < SHOWN) {
    size_t room = SHOWN - a->bytes;
    memcpy(a->shown + a->bytes, bytes, length < room ? length : room);
  }
  if (length >= TAIL) {
    memcpy(a->tail, bytes + length - TAIL, TAIL);
  } else {
    memmove(a->tail, a->tail + length, TAIL - length);
    memcpy(a->tail + TAIL - length, bytes, length);
  }
  a->bytes += length;
}

static inline void read_chunk_size(struct answer *a, char c) {
  int digit = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
  if (digit >= 0) a->left = a->left * 16 + (uint64_t)digit;
  else if (c == '\n') a->part = a->left ? CHUNK_DATA : LAST_LINE;
  else if (c != '\r') a->part = BROKEN;  // no gateway here sends chunk extensions
}

// Takes what arrived. The answer is over when `part` is COMPLETE or BROKEN.
static inline void answer_read(struct answer *a, const char *bytes, size_t length, int is_stream) {
  for (size_t took; length && a->part < COMPLETE; bytes += took, length -= took) {
    took = 1;
    switch (a->part) {
      case HEAD:
        took = read_head(a, bytes, length);
        break;
      case BODY:
      case CHUNK_DATA:
        took = a->left < length ? (size_t)a->left : length;
        note_body(a, bytes, took, is_stream);
        if ((a->left -= took) == 0) a->part = a->part == BODY ? COMPLETE : CHUNK_END;
        break;
      case CHUNK_SIZE:
        read_chunk_size(a, *bytes);
        break;
      case CHUNK_END:
        if (*bytes == '\n') a->part = CHUNK_SIZE;
        break;
      default:  // LAST_LINE: the blank line after the last chunk
        if (*bytes == '\n') a->part = COMPLETE;
    }
  }
  if (length && a->part == COMPLETE) a->part = BROKEN;  // more than was asked for
}

// NULL when the answer is right, else what is wrong with it. expected_events is 0 for a plain answer.
static inline const char *answer_fault(const struct answer *a, int expected_events) {
  static char text[512];
  if (a->part != COMPLETE)
    snprintf(text, sizeof text, "broken HTTP after %llu bytes of body", (unsigned long long)a->bytes);
  else if (a->status != 200)
    snprintf(text, sizeof text, "status %d: %.*s", a->status, (int)(a->bytes < SHOWN ? a->bytes : SHOWN), a->shown);
  else if (expected_events && memcmp(a->tail, DONE_EVENT, TAIL))
    snprintf(text, sizeof text, "a stream that does not end with [DONE], after %d events", a->events);
  else if (expected_events && a->events != expected_events)
    snprintf(text, sizeof text, "a stream of %d events instead of %d", a->events, expected_events);
  else if (!expected_events && a->tail[TAIL - 1] != '}')
    snprintf(text, sizeof text, "an answer that does not end as JSON does");
  else
    return NULL;
  return text;
}
#endif
