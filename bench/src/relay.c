// The kernel's own price of a proxy hop: bytes from each client connection to an upstream connection of its own, and
// back. It parses nothing, checks no key and pools nothing, so no proxy over two sockets can be cheaper.
//   relay PORT UPSTREAM_PORT
#include "net.h"

struct side {
  int fd;  // -1 once closed
  struct side *other;
};

static int loop;
static char buffer[1 << 16];

static struct side *watched(int fd) {
  struct side *side = malloc(sizeof *side);
  side->fd = fd;
  return side;
}

static void accept_all(int listener, int upstream_port) {
  for (int fd; (fd = accept_one(listener)) >= 0;) {
    int upstream_fd = dial(upstream_port);
    if (upstream_fd < 0) {
      close(fd);
      continue;
    }
    struct side *client = watched(fd), *upstream = watched(upstream_fd);
    client->other = upstream;
    upstream->other = client;
    loop_add(loop, fd, client);
    loop_add(loop, upstream_fd, upstream);
  }
}

// The pair stays allocated: the same batch of events may still name it, and a load opens a few dozen pairs in all.
static void close_pair(struct side *side) {
  close(side->fd);
  close(side->other->fd);
  side->fd = side->other->fd = -1;
}

static void forward(struct side *side) {
  ssize_t got = recv(side->fd, buffer, sizeof buffer, MSG_DONTWAIT);
  if (got < 0 && would_block()) return;
  if (got <= 0) {
    close_pair(side);
    return;
  }
  // The send may block: both ends of the bench read whenever they are written to, so it always comes back.
  for (ssize_t sent = 0, done; sent < got; sent += done) {
    if ((done = send(side->other->fd, buffer + sent, (size_t)(got - sent), 0)) <= 0) {
      close_pair(side);
      return;
    }
  }
}

int main(int argc, char **argv) {
  if (argc != 3) {
    fprintf(stderr, "usage: relay PORT UPSTREAM_PORT\n");
    return 2;
  }
  signal(SIGPIPE, SIG_IGN);
  struct side listener = {.fd = listen_at(atoi(argv[1]))};
  struct ready events[BATCH];
  loop = loop_new();
  loop_add(loop, listener.fd, &listener);
  for (;;) {
    int count = loop_wait(loop, events, -1);
    for (int i = 0; i < count; i++) {
      struct side *side = events[i].owner;
      if (side == &listener)
        accept_all(listener.fd, atoi(argv[2]));
      else if (side->fd >= 0)
        forward(side);
    }
  }
}
