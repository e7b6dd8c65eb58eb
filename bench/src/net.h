// Sockets and one readiness loop for the three programs: epoll on Linux, kqueue on macOS and the BSDs.
// Level-triggered, one pointer per descriptor. Nothing here allocates while a load runs.
#ifndef BENCH_NET_H
#define BENCH_NET_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE  // memmem, strcasestr, ppoll
#endif
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <poll.h>
#include <sys/epoll.h>
#else
#include <sys/event.h>
#endif

enum { BATCH = 256 };
enum { MILLISECOND_NS = 1000 * 1000, SECOND_NS = 1000 * MILLISECOND_NS };

struct ready {
  void *owner;
  int can_write;  // else: there is something to read, or the other side has left
};

static inline uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

static inline void die(const char *what) {
  perror(what);
  exit(1);
}

#ifdef __linux__
static inline int loop_new(void) { return epoll_create1(0); }

static inline void loop_add(int loop, int fd, void *owner) {
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = owner};
  if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event)) die("epoll_ctl");
}

static inline void loop_watch_write(int loop, int fd, void *owner, int on) {
  struct epoll_event event = {.events = EPOLLIN | (on ? EPOLLOUT : 0), .data.ptr = owner};
  if (epoll_ctl(loop, EPOLL_CTL_MOD, fd, &event)) die("epoll_ctl");
}

// timeout_ns < 0 waits for ever. epoll_wait knows milliseconds only and epoll_pwait2 needs Linux 5.11, so a short wait
// is one ppoll on the epoll descriptor first; a long one need not be exact and costs nothing.
static inline int loop_wait(int loop, struct ready *out, int64_t timeout_ns) {
  struct epoll_event events[BATCH];
  int count, wait_ms = timeout_ns < 0 ? -1 : (int)(timeout_ns / MILLISECOND_NS);
  if (timeout_ns > 0 && wait_ms < 20) {
    struct pollfd one = {.fd = loop, .events = POLLIN};
    struct timespec limit = {0, timeout_ns};
    if (ppoll(&one, 1, &limit, NULL) == 0) return 0;
    wait_ms = 0;
  }
  if ((count = epoll_wait(loop, events, BATCH, wait_ms)) < 0) return 0;
  for (int i = 0; i < count; i++) {
    out[i].owner = events[i].data.ptr;
    out[i].can_write = !(events[i].events & ~(uint32_t)EPOLLOUT);
  }
  return count;
}
#else
static inline int loop_new(void) { return kqueue(); }

static inline void loop_add(int loop, int fd, void *owner) {
  struct kevent change;
  EV_SET(&change, fd, EVFILT_READ, EV_ADD, 0, 0, owner);
  if (kevent(loop, &change, 1, NULL, 0, NULL)) die("kevent");
}

static inline void loop_watch_write(int loop, int fd, void *owner, int on) {
  struct kevent change;
  EV_SET(&change, fd, EVFILT_WRITE, on ? EV_ADD : EV_DELETE, 0, 0, owner);
  if (kevent(loop, &change, 1, NULL, 0, NULL)) die("kevent");
}

static inline int loop_wait(int loop, struct ready *out, int64_t timeout_ns) {
  struct kevent events[BATCH];
  struct timespec limit = {timeout_ns / SECOND_NS, timeout_ns % SECOND_NS};
  int count = kevent(loop, NULL, 0, events, BATCH, timeout_ns < 0 ? NULL : &limit);
  if (count < 0) return 0;
  for (int i = 0; i < count; i++) {
    out[i].owner = events[i].udata;
    out[i].can_write = events[i].filter == EVFILT_WRITE;
  }
  return count;
}
#endif

static inline struct sockaddr_in loopback(int port) {
  return (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

// Every message is small and waited for, so none may sit in the kernel for company.
static inline void no_delay(int fd) {
  int one = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

static inline void no_blocking(int fd) { fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK); }

static inline int listen_at(int port) {
  struct sockaddr_in address = loopback(port);
  int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 1024)) die("listen");
  no_blocking(fd);
  return fd;
}

// The next caller of a listener, as a socket that blocks, or -1. (On BSD it would inherit the listener's mode.)
static inline int accept_one(int listener) {
  int fd = accept(listener, NULL, NULL);
  if (fd >= 0) {
    fcntl(fd, F_SETFL, 0);
    no_delay(fd);
  }
  return fd;
}

// A connected socket that blocks, or -1.
static inline int dial(int port) {
  struct sockaddr_in address = loopback(port);
  int fd = socket(AF_INET, SOCK_STREAM, 0);
  if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof address)) {
    close(fd);
    return -1;
  }
  no_delay(fd);
  return fd;
}

static inline int would_block(void) { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }

// Returns the start of what follows `name` (given with its colon, lower case) in an HTTP head, or NULL.
static inline const char *header_value(const char *head, size_t length, const char *name) {
  size_t width = strlen(name);
  const char *end = head + length;
  for (const char *line = head; (line = memchr(line, '\n', (size_t)(end - line))) != NULL;) {
    line++;
    if ((size_t)(end - line) >= width && !strncasecmp(line, name, width)) return line + width;
  }
  return NULL;
}
#endif
