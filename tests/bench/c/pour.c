/* pour: publishes numbered events (net.h) to one server, at a fixed rate or as fast as the server accepts them.
 *
 *   pour -m MODE -p PORT [-l FILE] [-u SUBJECT] -n EVENTS [-r PER_S] [-f IN_FLIGHT] [-z BYTES] [-o OFFSET] [-a STREAM]
 *
 *   -m MODE       lines: one per line (for floor) · nats: PUB · jetstream: PUB, acknowledged · http: POST
 *   -l FILE       topics, one per line; event i goes to topic i modulo their number; each topic has its own count
 *   -u SUBJECT    subject or path, "%s" in it becomes the topic
 *   -n EVENTS     in total
 *   -r PER_S      events per second; 0 (default): as fast as possible
 *   -f IN_FLIGHT  at most this many unacknowledged events (default 256)
 *   -z BYTES      size of one event (default 180)
 *   -o OFFSET     number of events that each topic has already
 *   -a STREAM     as AnyCable's broadcasts to this stream: the event is text in another JSON object
 *
 * At a fixed rate an event carries the time at which it was due, so that a delayed publisher cannot hide its delay.
 * Prints one JSON line at the end, when every event is acknowledged.
 */
#include "net.h"

enum { LINES, NATS, JETSTREAM, HTTP };
enum { BUFFER = 1 << 20, ROOM = 70 * 1024, NATS_PING_EVERY = 64 };

static const char *const MODES[] = {"lines", "nats", "jetstream", "http"};
static const char *const ANSWERS[] = {"", "PONG\r\n", "MSG _INBOX.pour", "HTTP/1.1 20"};
static int mode = -1, port, topics, size = 180;
static long total, in_flight = 256, offset;
static double per_s;
static const char *subject = "%s", *stream;
static char **topic;
static char out[BUFFER];
static size_t have, done;
static long sent, answered, refused;
static uint64_t begin_ns;

static size_t event(char *at, long number, uint64_t ns) {
  int length = sprintf(at, "{\"type\":\"progress\",\"message\":\"Testing WASD movement\",\"timestamp\":%lu,"
    "\"data\":{\"n\":%ld,\"ns\":%lu,\"pad\":\"", ns / 1000000, FIRST_N + offset + number, ns);
  while (length < size - 3) at[length] = 'a' + length % 26, length++;
  memcpy(at + length, "\"}}", 4);
  return length + 3;
}

static size_t broadcast(char *at, const char *event, size_t size) {
  char *p = at + sprintf(at, "{\"stream\":\"%s\",\"data\":\"", stream);
  for (size_t i = 0; i < size; i++) {
    if (event[i] == '"') *p++ = '\\';
    *p++ = event[i];
  }
  return stpcpy(p, "\"}") - at;
}

static void append(uint64_t ns) {
  char name[512], payload[ROOM];
  snprintf(name, sizeof name, subject, topics ? topic[sent % topics] : "");
  size_t length = event(payload, topics ? sent / topics : sent, ns);
  if (stream) {
    char plain[ROOM];
    memcpy(plain, payload, length);
    length = broadcast(payload, plain, length);
  }
  char *at = out + have;
  switch (mode) {
    case LINES: break;
    case NATS: at += sprintf(at, "PUB %s %zu\r\n", name, length); break;
    case JETSTREAM: at += sprintf(at, "PUB %s _INBOX.pour %zu\r\n", name, length); break;
    case HTTP: at += sprintf(at, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", name, length); break;
  }
  memcpy(at, payload, length);
  at += length;
  if (mode != HTTP) at = stpcpy(at, mode == LINES ? "\n" : "\r\n");
  sent++;
  if (mode == NATS && (sent % NATS_PING_EVERY == 0 || sent == total)) at = stpcpy(at, "PING\r\n");
  have = at - out;
}

static long count_of(const char *text, size_t length, const char *what, size_t new_from) {
  long found = 0;
  size_t width = strlen(what);
  for (const char *p = text; (p = memmem(p, text + length - p, what, width)); p += width)
    found += (size_t)(p - text) + width > new_from; /* otherwise it was counted in the previous read */
  return found;
}

static void hear(int fd) {
  static char in[32 + 65536];
  static size_t kept;
  ssize_t got = recv(fd, in + kept, 65536, 0);
  if (got == 0 || (got < 0 && errno != EAGAIN)) die("the server closed");
  if (got < 0) return;
  size_t length = kept + got;
  if (mode == NATS || mode == JETSTREAM) {
    if (memmem(in, length, "-ERR", 4)) fprintf(stderr, "%.*s\n", (int)length, in), exit(3);
    if (count_of(in, length, "\r\nPING\r\n", kept)) have = stpcpy(out + have, "PONG\r\n") - out;
  }
  if (mode != LINES) answered += count_of(in, length, ANSWERS[mode], kept) * (mode == NATS ? NATS_PING_EVERY : 1);
  refused += count_of(in, length, mode == JETSTREAM ? "\"error\"" : "HTTP/1.1 50", kept);
  kept = length < 24 ? length : 24;
  memmove(in, in + length - kept, kept);
}

static void options(int argc, char **argv) {
  char line[512];
  FILE *file;
  for (int o; (o = getopt(argc, argv, "m:p:l:u:n:r:f:z:o:a:")) != -1;) switch (o) {
      case 'm': for (int i = 0; i < 4; i++) if (!strcmp(optarg, MODES[i])) mode = i; break;
      case 'p': port = atoi(optarg); break;
      case 'l':
        if (!(file = fopen(optarg, "r"))) die(optarg);
        while (fgets(line, sizeof line, file)) {
          line[strcspn(line, "\n")] = 0;
          topic = realloc(topic, (topics + 1) * sizeof *topic);
          topic[topics++] = strdup(line);
        }
        break;
      case 'u': subject = optarg; break;
      case 'n': total = atol(optarg); break;
      case 'r': per_s = atof(optarg); break;
      case 'f': in_flight = atol(optarg); break;
      case 'z': size = atoi(optarg); break;
      case 'o': offset = atol(optarg); break;
      case 'a': stream = optarg; break;
      default: exit(2);
    }
  if (mode < 0 || !port || !total || size > 65000) exit(2);
}

int main(int argc, char **argv) {
  options(argc, argv);
  int fd = dial(port, 1);
  static const char *const HELLO[] = {"PUBLISH\n", "CONNECT {\"verbose\":false}\r\n",
                                      "CONNECT {\"verbose\":false}\r\nSUB _INBOX.pour 1\r\n", ""};
  have = stpcpy(out, HELLO[mode]) - out;
  double latest = 0;
  begin_ns = wall_ns();
  for (;;) {
    uint64_t now = wall_ns(), due = now;
    while (sent < total && BUFFER - have > ROOM * 2 && (mode == LINES || sent - answered < in_flight)) {
      if (per_s > 0 && (due = begin_ns + sent / per_s * 1e9) > now) break;
      if ((now - due) / 1e6 > latest) latest = (now - due) / 1e6;
      append(per_s > 0 ? due : (now = wall_ns()));
    }
    if (done < have) {
      ssize_t wrote = send(fd, out + done, have - done, MSG_NOSIGNAL);
      if (wrote < 0 && errno != EAGAIN && errno != ENOTCONN && errno != EINPROGRESS) die("send");
      if (wrote > 0 && (done += wrote) == have) done = have = 0;
    }
    if (sent == total && !have && (mode == LINES || answered >= total)) break;
    int64_t wait = sent < total && due > now ? (int64_t)(due - now) : 1000000000;
    struct timespec timeout = {wait / 1000000000, wait % 1000000000};
    struct pollfd look = {fd, POLLIN | (done < have ? POLLOUT : 0), 0};
    if (mode == LINES && sent < total && done == have && due <= now) continue;
    ppoll(&look, 1, &timeout, NULL);
    if (look.revents & (POLLIN | POLLERR | POLLHUP)) hear(fd);
  }
  printf("{\"sent\":%ld,\"refused\":%ld,\"span_s\":%.4f,\"latest_ms\":%.2f,\"cpu_s\":%.4f}\n", sent, refused,
         (wall_ns() - begin_ns) / 1e9, latest, cpu_s());
  return 0;
}
