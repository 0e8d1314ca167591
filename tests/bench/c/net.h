/* Shared by the four programs of the benchmark: clocks, sockets, and the record in every event.
 *
 * An event is JSON and contains a record of fixed width, `"n":1000001,"ns":1700000000000000000`: its number on its topic,
 * counted from 1,000,001, and its time of publication (CLOCK_REALTIME, nanoseconds). The load generator searches for the
 * record, so it can check and time every server between itself and the publisher, whatever the server adds to the event.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_N = 1000001, RECORD = 36, NS_AT = 11 }; /* a record has RECORD bytes; `,"ns":` is at offset NS_AT */

static inline void die(const char *what) { perror(what); exit(2); }

static inline double now_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static inline uint64_t wall_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  return (uint64_t)t.tv_sec * 1000000000ull + t.tv_nsec;
}

static inline double cpu_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec + t.tv_nsec / 1e9;
}

static inline void more_files(void) { /* the soft limit is often 1,024; raise it to the hard limit */
  struct rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

/* A non-blocking connection to 127.0.0.1:port from 127.0.0.`source`: each source address has its own 28,000 ports. */
static inline int dial(int port, int source) {
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0) die("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000000u + source)};
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  if (bind(fd, (void *)&from, sizeof from)) die("bind");
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(0x7f000001u)};
  if (connect(fd, (void *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
  return fd;
}

static inline void watch(int ep, int fd, uint32_t events, uint64_t data, int operation) {
  struct epoll_event event = {.events = events, .data.u64 = data};
  if (epoll_ctl(ep, operation, fd, &event)) die("epoll_ctl");
}
