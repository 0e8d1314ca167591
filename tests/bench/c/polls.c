/* polls: repeats one request on a few persistent connections, one request at a time on each.
 *
 *   polls -p PORT -u TARGET [-t ETAG] [-n CONNECTIONS] [-d SECONDS]
 *
 * Prints one JSON line: answers, answers with status 304, lost connections, seconds, answers per second, latencies in
 * ms, CPU seconds.
 */
#include "net.h"

enum { IN = 1 << 16, SAMPLES = 1 << 20 };
typedef struct {
  int fd, have;
  double asked_at;
  char in[IN + 1];
} Connection;

static float latency_ms[SAMPLES];

static int by_size(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return x < y ? -1 : x > y;
}

/* Size of the answer at the start of the received bytes; 0 while it is incomplete. */
static int whole(Connection *c) {
  c->in[c->have] = 0;
  char *blank = strstr(c->in, "\r\n\r\n"), *length;
  if (!blank) return 0;
  int size = blank + 4 - c->in, body = 0;
  *blank = 0;
  if (strncmp(c->in + 9, "304", 3) && (length = strcasestr(c->in, "content-length:"))) body = atoi(length + 15);
  *blank = '\r';
  return c->have >= size + body ? size + body : 0;
}

int main(int argc, char **argv) {
  int port = 0, count = 32;
  double seconds = 3;
  const char *target = "/", *etag = "";
  for (int o; (o = getopt(argc, argv, "p:u:t:n:d:")) != -1;) switch (o) {
      case 'p': port = atoi(optarg); break;
      case 'u': target = optarg; break;
      case 't': etag = optarg; break;
      case 'n': count = atoi(optarg); break;
      case 'd': seconds = atof(optarg); break;
      default: return 2;
    }
  char request[2048];
  int size = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s%s%s\r\n", target, port,
                      *etag ? "If-None-Match: " : "", etag, *etag ? "\r\n" : "");
  Connection *all = calloc(count, sizeof *all);
  int ep = epoll_create1(0);
  for (int i = 0; i < count; i++) {
    all[i].fd = dial(port, 1);
    watch(ep, all[i].fd, EPOLLOUT, i, EPOLL_CTL_ADD);
  }
  long answers = 0, unchanged = 0, lost = 0;
  double began = now_s();
  static struct epoll_event events[256];
  while (now_s() - began < seconds && lost < count) {
    int n = epoll_wait(ep, events, 256, 100);
    for (int i = 0; i < n; i++) {
      Connection *c = all + events[i].data.u64;
      int ask = events[i].events == EPOLLOUT;
      if (ask) watch(ep, c->fd, EPOLLIN, events[i].data.u64, EPOLL_CTL_MOD);
      else {
        ssize_t got = recv(c->fd, c->in + c->have, IN - c->have, 0);
        if (got <= 0) {
          lost++;
          close(c->fd);
          continue;
        }
        c->have += got;
        if ((ask = whole(c) > 0)) {
          unchanged += !strncmp(c->in + 9, "304", 3);
          latency_ms[answers++ % SAMPLES] = (now_s() - c->asked_at) * 1000;
          c->have = 0;
        }
      }
      if (!ask) continue;
      c->asked_at = now_s();
      if (send(c->fd, request, size, MSG_NOSIGNAL) != size) die("send");
    }
  }
  double took = now_s() - began;
  long taken = answers < SAMPLES ? answers : SAMPLES;
  qsort(latency_ms, taken, sizeof *latency_ms, by_size);
  printf("{\"answers\":%ld,\"unchanged\":%ld,\"lost\":%ld,\"span_s\":%.4f,\"per_s\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,"
         "\"cpu_s\":%.4f}\n", answers, unchanged, lost, took, answers / took,
         taken ? latency_ms[taken / 2] : 0, taken ? latency_ms[taken * 99 / 100] : 0, cpu_s());
  return 0;
}
