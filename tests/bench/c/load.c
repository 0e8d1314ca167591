/* load: opens many connections from one thread, WebSockets mostly; counts and times the events that each one receives.
 *
 *   load -p PORT [-m MODE] [-u TARGET] [-l FILE] [-n CONNECTIONS] [-i IN_FLIGHT] [-b SOURCE] [-s TEXT]... [-w TEXT] [-e EVERY]
 *        [-r TARGET -o SEQUENCE]
 *
 *   -p PORT       may be repeated, for several servers: connections are spread over them, and one that comes back (below)
 *                 goes to the next
 *   -m MODE       "stream": server-sent events; "poll": long polls, where -u is asked first and -r whenever an answer has come
 *   -u TARGET     request target; "%s" in it becomes a line of the list
 *   -r TARGET     target for those that come back; "%u" in it becomes the sequence of the last event that they have
 *   -o SEQUENCE   of the first event; those that follow have the next ones
 *   -l FILE       the list: connection i takes line i modulo their number
 *   -i IN_FLIGHT  handshakes in flight at a time (default 200)
 *   -b SOURCE     connect from 127.0.0.SOURCE (default 1)
 *   -s TEXT       a text frame to send once open ("\r\n" is unescaped); may be repeated
 *   -w TEXT       a connection counts as open when it has received TEXT, which confirms its subscription
 *   -e EVERY      record the latency of one in EVERY events (default 1)
 *
 * It prints one JSON line when all connections are open. It then reads commands from standard input:
 *
 *   await EVENTS SECONDS   wait until each connection has had EVENTS in total, at most SECONDS; print one JSON line
 *   report                 print that line at once; its `pending` counts connections that are not open yet
 *   return                 from now on a connection that the server has closed comes back, when the page would: after
 *                          `retryAfterMs` of the server's goodbye, and after 0.8 to 1 s without one
 *   jitter EVERY AWAY      the same, and each connection is cut about every EVERY seconds (at random, 0.5 to 1.5 times
 *                          that) and comes back after AWAY seconds. Nothing is said to the server before a cut
 *   calm                   no more cuts; those that are away come back
 *   servers PORT...        connections that begin from now on go to these, as behind a load balancer
 *   back SECONDS           wait until no connection is `absent`, at most SECONDS; print one JSON line
 *
 * Counts are since the start; latencies and the span of arrival are since the last line. Of those that come back, latencies
 * count again from when they have all that they missed; `replay` is how long that takes from the beginning of a connection:
 * up to the newest event that any connection had then. Until then a connection is `absent`; `away` is how long it was, from
 * its loss on, and `current_at` the time (s since 1970) when the last of them had all. A silence is the time between two
 * events of a connection, however often it was lost meanwhile: `silence` is, over the connections, the longest one that has
 * ended since the last line, `longest` since the start. The program ends at the end of its input.
 *
 * It must use less CPU than the server that it measures. It reads up to 256 KB into one buffer and parses frames without
 * copying them. It guesses the position of the next event's record from the distance of the last two, and searches only
 * if the guess is wrong. A record split by the network, a fragment or a frame is carried over (at most 35 bytes).
 */
#include "net.h"
#include "histogram.h"

enum { CONNECTING, HANDSHAKE, GREETING, OPEN, CLOSED };
enum { SOCKET, STREAM, POLL };
enum { READ_BYTES = 256 * 1024, HEADROOM = 64, MAX_HEAD = 2048, MAX_SENDS = 8, MAX_PORTS = 8, NO_RETRY = 65535 };

typedef struct {
  int fd;
  uint8_t state, opcode, header_size, control_size, carry_size;
  uint8_t header[14], control[125];
  char carry[RECORD - 1];
  uint16_t stride; /* bytes between the last two records; 0: unknown */
  uint16_t port;
  uint16_t retry_ms; /* what the server's goodbye asks for; NO_RETRY: none */
  uint64_t left;     /* payload bytes of the current frame still to come */
  uint32_t events, next_n;
  uint32_t missing_to; /* it has missed the events before this one; 0: none */
  uint32_t silence_us, longest_us;
  uint64_t begun_ns;
  uint64_t lost_ns;  /* when it was lost; 0: it has all since */
  uint64_t heard_ns; /* when its newest event was read; 0: never */
  char *head; /* of a response, until it is complete */
  int head_size;
} Connection;

static Connection *all;
static int mode = SOCKET, count = 100, ports[MAX_PORTS], port_count, in_flight = 200, source = 1, sends, lines;
static const char *target = "/", *resume_target, *send_texts[MAX_SENDS], *welcome;
static uint32_t first_sequence, newest_n = FIRST_N;
static double cut_every, away; /* seconds; cut_every is 0 before and after the jitter */
static double *due;            /* when a connection is to be cut, or to come back; 0: never */
static int *server;            /* index into ports, modulo their number */
static int returns;            /* those that lose their connection come back */
static int absent, awaits_absent;
static uint64_t cuts, resumed, current_ns;
static char **list;
static int ep, started, pending, opened, closed_by_peer, *again, again_count;
static uint64_t refused, failed, every = 1;
static uint64_t events, bytes, gaps, disorders;
static uint32_t awaited = UINT32_MAX;
static int reached;
static double began;
static uint64_t began_ns, read_ns, first_ns, last_ns;
static Histogram latency, replay, away_times;

static double random_between(double least, double most) {
  static uint64_t state = 88172645463325252ull;
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return least + (most - least) * (state >> 11) / (double)(1ull << 53);
}

static void say_frame(int fd, int opcode, const void *payload, size_t size) {
  uint8_t frame[8 + 4096] = {0x80 | opcode}; /* a mask of zero is allowed and needs no computation */
  size_t at = 2;
  if (size > 4000) return;
  if (size < 126) frame[1] = 0x80 | size;
  else frame[1] = 0x80 | 126, frame[2] = size >> 8, frame[3] = size, at = 4;
  memcpy(frame + at + 4, payload, size);
  if (send(fd, frame, at + 4 + size, MSG_NOSIGNAL) < 0) { /* the peer is gone: epoll reports it */ }
}

static void begin(int index) {
  Connection *c = all + index;
  uint32_t next_n = c->next_n ? c->next_n : FIRST_N;
  int port = ports[server[index] % port_count];
  *c = (Connection){.fd = dial(port, source), .port = port, .state = CONNECTING, .next_n = next_n, .events = c->events,
    .begun_ns = wall_ns(), .missing_to = returns ? newest_n : 0, .retry_ms = NO_RETRY, .lost_ns = c->lost_ns,
    .heard_ns = c->heard_ns, .silence_us = c->silence_us, .longest_us = c->longest_us};
  watch(ep, c->fd, EPOLLOUT, index, EPOLL_CTL_ADD);
  pending++;
}

static void close_it(Connection *c) {
  if (c->state == OPEN) opened--;
  else if (c->state != CLOSED) pending--;
  c->state = CLOSED;
  close(c->fd);
  free(c->head);
  c->head = NULL;
  if (returns && !c->lost_ns) c->lost_ns = wall_ns(), absent++;
}

static void end(Connection *c) {
  if (c->state == OPEN) closed_by_peer++;
  else if (c->state != CLOSED) failed++;
  close_it(c);
  if (!returns) return;
  due[c - all] = now_s() + (c->retry_ms == NO_RETRY ? random_between(.8, 1) : c->retry_ms / 1000.0);
  server[c - all]++;
}

static void cut(int index) {
  close_it(all + index);
  cuts++;
  due[index] = now_s() + away;
}

static void is_open(Connection *c) {
  c->state = OPEN;
  opened++, pending--;
  if (cut_every) due[c - all] = now_s() + random_between(.5, 1.5) * cut_every;
}

/* Notes how long its replay took, once it has all that it missed while it was away. */
static void note_replay(Connection *c) {
  if (!c->missing_to || c->state != OPEN || c->next_n < c->missing_to) return;
  note_us(&replay, (read_ns - c->begun_ns) / 1000);
  resumed++;
  c->missing_to = 0;
  if (!c->lost_ns) return;
  note_us(&away_times, (read_ns - c->lost_ns) / 1000);
  c->lost_ns = 0;
  if (!--absent) current_ns = read_ns;
}

/* Notes how long it has had no event, now that it has one. */
static void note_silence(Connection *c) {
  if (c->heard_ns && read_ns - c->heard_ns > c->silence_us * 1000ull) c->silence_us = (read_ns - c->heard_ns) / 1000;
  c->heard_ns = read_ns;
}

/* Reads when to come back from a goodbye, whose digits end within the piece. */
static void note_retry(Connection *c, const char *from, const char *end) {
  static const char name[] = "\"retryAfterMs\":";
  const char *p = memmem(from, end - from, name, sizeof name - 1);
  if (!p) return;
  uint32_t ms = 0;
  for (p += sizeof name - 1; p < end && *p >= '0' && *p <= '9' && ms < NO_RETRY; p++) ms = ms * 10 + (*p - '0');
  if (p < end) c->retry_ms = ms < NO_RETRY ? ms : NO_RETRY - 1;
}

static uint32_t number_at(const char *p) { /* the seven digits after `"n":` */
  uint32_t n = 0;
  for (int i = 4; i < NS_AT; i++) n = n * 10 + (p[i] - '0');
  return n;
}

static int record_at(const char *p) { return !memcmp(p, "\"n\":", 4) && !memcmp(p + NS_AT, ",\"ns\":", 6); }

static void counted(Connection *c, const char *record, uint32_t n) {
  if (n < c->next_n) { /* a duplicate, or out of order: not counted as an event */
    disorders++;
    return;
  }
  gaps += n - c->next_n;
  c->next_n = n + 1;
  if (c->next_n > newest_n) newest_n = c->next_n;
  if (++c->events == awaited) reached++;
  if (++events % every || c->missing_to) return;
  uint64_t sent = 0;
  for (int i = NS_AT + 6; i < RECORD; i++) sent = sent * 10 + (record[i] - '0');
  note_us(&latency, read_ns > sent ? (read_ns - sent) / 1000 : 0);
}

/* Finds the records in a piece of payload. The carried bytes are copied in front of the piece, over bytes that were
 * handled before; HEADROOM reserves space at the start of the buffer. */
static void scan(Connection *c, char *piece, size_t size) {
  char *from = piece - c->carry_size, *end = piece + size, *p = from;
  memcpy(from, c->carry, c->carry_size);
  if (c->state == GREETING && welcome) {
    if (memmem(from, end - from, welcome, strlen(welcome))) is_open(c);
  }
  char *last = NULL; /* the last record found, from which the next one is guessed */
  while (end - p >= RECORD) {
    if (last && c->stride && end - last >= c->stride + RECORD) {
      char *guess = last + c->stride;
      if (record_at(guess) && number_at(guess) == c->next_n) {
        counted(c, last = guess, c->next_n);
        p = guess + RECORD;
        continue;
      }
    }
    char *found = memmem(p, end - p, "\"n\":", 4);
    if (!found || end - found < RECORD) {
      p = found ? found : end - 3 > p ? end - 3 : p;
      break;
    }
    if (!record_at(found)) {
      p = found + 4;
      continue;
    }
    if (last) c->stride = found - last < UINT16_MAX ? found - last : 0;
    counted(c, last = found, number_at(found));
    p = found + RECORD;
  }
  size_t rest = end - p;
  if (!last) note_retry(c, from, end);
  if (!last) rest = end - from < RECORD - 1 ? end - from : RECORD - 1; /* a control message may be split as well */
  memcpy(c->carry, end - rest, rest);
  c->carry_size = rest;
}

static void ask(int index);

static void frame_ended(Connection *c) {
  if (mode == POLL) {
    if (c->state != OPEN) is_open(c);
    return ask(c - all);
  }
  if (c->opcode == 9) say_frame(c->fd, 10, c->control, c->control_size);
  if (c->opcode == 8) say_frame(c->fd, 8, c->control, c->control_size); /* the server then closes the connection */
  c->control_size = 0;
}

static void frame_began(Connection *c, const uint8_t *h) {
  int length = h[1] & 127;
  c->opcode = h[0] & 15;
  c->left = length;
  if (length == 126) c->left = h[2] << 8 | h[3];
  if (length == 127) {
    c->left = 0;
    for (int i = 2; i < 10; i++) c->left = c->left << 8 | h[i];
  }
  if (!c->left) frame_ended(c);
}

static int header_bytes(uint8_t second) { return (second & 127) == 126 ? 4 : (second & 127) == 127 ? 10 : 2; }

static void receive(Connection *c, char *p, size_t size) {
  char *end = p + size;
  bytes += size;
  while (p < end) {
    if (c->left) {
      size_t piece = (uint64_t)(end - p) < c->left ? (size_t)(end - p) : c->left;
      c->left -= piece;
      if (c->opcode < 3) scan(c, p, piece);
      else if (c->control_size + piece <= sizeof c->control) {
        memcpy(c->control + c->control_size, p, piece);
        c->control_size += piece;
      }
      p += piece;
      if (!c->left) frame_ended(c);
    } else if (!c->header_size && end - p >= 10) { /* the common case: the header is complete */
      int size = header_bytes(p[1]);
      frame_began(c, (uint8_t *)p);
      p += size;
    } else {
      c->header[c->header_size++] = *p++;
      if (c->header_size >= 2 && c->header_size == header_bytes(c->header[1])) {
        c->header_size = 0;
        frame_began(c, c->header);
      }
    }
  }
}

/* The server refused the connection; as a viewer does, it tries again later. */
static void try_again(int index) {
  end(all + index);
  failed--, refused++;
  if (returns) return;
  again[again_count++] = index;
}

/* Sends the request of a connection that stands. */
static void ask(int index) {
  static const char *const headers[] = {
    [SOCKET] = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
    [STREAM] = "Accept: text/event-stream\r\n",
    [POLL] = ""};
  Connection *c = all + index;
  char path[1024], request[2048];
  if (resume_target && (c->next_n > FIRST_N || c->state == OPEN)) snprintf(path, sizeof path, resume_target, first_sequence + c->next_n - 1 - FIRST_N);
  else snprintf(path, sizeof path, target, lines ? list[index % lines] : "");
  int length = snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n%s\r\n", path, c->port, headers[mode]);
  if (send(c->fd, request, length, MSG_NOSIGNAL) != length) return end(c);
  c->head = malloc(MAX_HEAD + 1);
  c->head_size = 0;
}

static void connected(int index) {
  Connection *c = all + index;
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (error) return try_again(index);
  c->state = HANDSHAKE;
  watch(ep, c->fd, EPOLLIN, index, EPOLL_CTL_MOD);
  ask(index);
}

/* How many bytes follow the head of an answer: what a stream has to say has no end. */
static uint64_t body_bytes(const char *head) {
  if (mode == STREAM) return UINT64_MAX;
  const char *length = strcasestr(head, "\r\ncontent-length:");
  return length ? strtoull(length + 17, 0, 10) : 0;
}

/* A response; frames or its body may follow in the same read. */
static void answered(int index, char *buffer, ssize_t size) {
  Connection *c = all + index;
  int old = c->head_size, take = size < MAX_HEAD - old ? size : MAX_HEAD - old;
  memcpy(c->head + old, buffer, take);
  c->head[c->head_size += take] = 0;
  char *blank = strstr(c->head, "\r\n\r\n");
  if (!blank) return;
  if (strncmp(c->head, mode == SOCKET ? "HTTP/1.1 101" : "HTTP/1.1 200", 12)) return c->state == OPEN ? end(c) : try_again(index);
  int used = blank + 4 - c->head - old;
  if (mode != SOCKET) {
    c->opcode = 1;
    if (!(c->left = body_bytes(c->head))) return end(c);
  }
  free(c->head);
  c->head = NULL;
  if (c->state == OPEN) return receive(c, buffer + used, size - used);
  for (int i = 0; i < sends; i++) say_frame(c->fd, 1, send_texts[i], strlen(send_texts[i]));
  c->state = GREETING;
  if (!welcome && mode != POLL) is_open(c);
  receive(c, buffer + used, size - used);
}

static void ready(int index) {
  static char memory[HEADROOM + READ_BYTES];
  Connection *c = all + index;
  char *buffer = memory + HEADROOM;
  if (c->state == CLOSED) return;
  if (c->state == CONNECTING) return connected(index);
  ssize_t size = recv(c->fd, buffer, READ_BYTES, 0);
  if (size <= 0) {
    if (size == 0 || errno != EAGAIN) end(c);
    return;
  }
  uint64_t before = events;
  read_ns = wall_ns();
  if (c->head) answered(index, buffer, size);
  else receive(c, buffer, size);
  note_replay(c);
  if (events != before) {
    note_silence(c);
    if (!first_ns) first_ns = read_ns;
    last_ns = read_ns;
  }
}

static void report(void) {
  uint32_t least = UINT32_MAX;
  uint64_t total = 0;
  static Histogram silence, longest;
  forget(&silence), forget(&longest);
  for (Connection *c = all; c < all + count; c++) {
    total += c->events;
    if (c->events < least) least = c->events;
    if (c->silence_us > c->longest_us) c->longest_us = c->silence_us;
    note_us(&silence, c->silence_us), note_us(&longest, c->longest_us);
    c->silence_us = 0;
  }
  printf("{\"open\":%d,\"pending\":%d,\"events\":%lu,\"least\":%u,\"bytes\":%lu,\"gaps\":%lu,\"disorders\":%lu,\"closed\":%d,"
         "\"span_s\":%.4f,\"p50_ms\":%.3f,\"p99_ms\":%.3f,\"max_ms\":%.3f,\"samples\":%lu,\"since_start_s\":%.4f,\"cpu_s\":%.4f,\"cuts\":%lu,\"resumed\":%lu,\"refused\":%lu,"
         "\"replay_p50_ms\":%.3f,\"replay_p95_ms\":%.3f,\"replay_p99_ms\":%.3f,\"replay_max_ms\":%.3f,"
         "\"absent\":%d,\"current_at\":%.6f,\"away_p50_ms\":%.3f,\"away_p99_ms\":%.3f,\"away_max_ms\":%.3f,"
         "\"silence_p50_ms\":%.3f,\"silence_p99_ms\":%.3f,\"silence_max_ms\":%.3f,"
         "\"longest_p99_ms\":%.3f,\"longest_max_ms\":%.3f}\n",
         opened, pending + again_count, total, least, bytes, gaps, disorders, closed_by_peer, (last_ns - first_ns) / 1e9,
         percentile_ms(&latency, .5), percentile_ms(&latency, .99), latency.slowest_us / 1000.0, latency.samples,
         last_ns ? (last_ns - began_ns) / 1e9 : 0.0, cpu_s(), cuts, resumed, refused, percentile_ms(&replay, .5),
         percentile_ms(&replay, .95), percentile_ms(&replay, .99), replay.slowest_us / 1000.0, absent, current_ns / 1e9,
         percentile_ms(&away_times, .5), percentile_ms(&away_times, .99), away_times.slowest_us / 1000.0,
         percentile_ms(&silence, .5), percentile_ms(&silence, .99), silence.slowest_us / 1000.0,
         percentile_ms(&longest, .99), longest.slowest_us / 1000.0);
  fflush(stdout);
  forget(&latency), forget(&replay), forget(&away_times);
  first_ns = last_ns = 0;
}

static void read_list(const char *name) {
  FILE *file = fopen(name, "r");
  char line[512];
  if (!file) die(name);
  while (fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    list = realloc(list, (lines + 1) * sizeof *list);
    list[lines++] = strdup(line);
  }
  fclose(file);
}

static char *unescaped(char *text) {
  char *w = text;
  for (char *r = text; *r; r++)
    if (r[0] == '\\' && (r[1] == 'r' || r[1] == 'n')) *w++ = *++r == 'r' ? '\r' : '\n';
    else *w++ = *r;
  *w = 0;
  return text;
}

static int mode_named(const char *name) {
  if (!strcmp(name, "stream")) return STREAM;
  if (!strcmp(name, "poll")) return POLL;
  exit(2);
}

static void options(int argc, char **argv) {
  for (int o; (o = getopt(argc, argv, "p:m:u:r:o:l:n:i:b:s:w:e:")) != -1;) switch (o) {
      case 'p': if (port_count < MAX_PORTS) ports[port_count++] = atoi(optarg); break;
      case 'm': mode = mode_named(optarg); break;
      case 'u': target = optarg; break;
      case 'r': resume_target = optarg; break;
      case 'o': first_sequence = atoi(optarg); break;
      case 'l': read_list(optarg); break;
      case 'n': count = atoi(optarg); break;
      case 'i': in_flight = atoi(optarg); break;
      case 'b': source = atoi(optarg); break;
      case 's': if (sends < MAX_SENDS) send_texts[sends++] = unescaped(optarg); break;
      case 'w': welcome = optarg; break;
      case 'e': every = strtoull(optarg, 0, 10); break;
      default: exit(2);
    }
  if (!port_count || count < 1 || !every || (welcome && strlen(welcome) >= RECORD)) exit(2);
}

static void obey(const char *line, double *deadline) {
  double seconds;
  if (sscanf(line, "back %lf", &seconds) == 1) {
    *deadline = now_s() + seconds;
    awaits_absent = 1;
  } else if (sscanf(line, "await %u %lf", &awaited, &seconds) == 2) {
    *deadline = now_s() + seconds;
    awaits_absent = 0;
    reached = 0;
    for (int i = 0; i < count; i++) reached += all[i].events >= awaited;
  } else if (sscanf(line, "jitter %lf %lf", &cut_every, &away) == 2) {
    returns = 1;
    for (int i = 0; i < count; i++) due[i] = now_s() + random_between(0, 1) * cut_every;
  } else if (!strcmp(line, "return")) {
    returns = 1;
  } else if (!strncmp(line, "servers ", 8)) {
    int used;
    port_count = 0;
    for (line += 8; port_count < MAX_PORTS && sscanf(line, "%d%n", ports + port_count, &used) == 1; line += used) port_count++;
    if (!port_count) exit(2);
  } else if (!strcmp(line, "calm")) {
    cut_every = 0;
    for (int i = 0; i < count; i++) if (all[i].state != CLOSED) due[i] = 0;
  } else report();
}

/* Obeys the lines of standard input that have come. Returns 0 at its end. */
static int listen_to(double *deadline) {
  static char lines[1024];
  static size_t have;
  ssize_t got = read(0, lines + have, sizeof lines - 1 - have);
  if (got == 0) return 0;
  if (got > 0) have += got;
  lines[have] = 0;
  for (char *newline; (newline = strchr(lines, '\n'));) {
    *newline = 0;
    obey(lines, deadline);
    have -= newline + 1 - lines;
    memmove(lines, newline + 1, have + 1);
  }
  return 1;
}

/* Cuts the connections whose time has come, and begins anew those that have been away. */
static void keep_times(void) {
  double now = now_s();
  for (int i = 0; i < count; i++) {
    if (!due[i] || due[i] > now) continue;
    due[i] = 0;
    if (all[i].state == CLOSED) begin(i);
    else if (all[i].state == OPEN) cut(i);
  }
}

int main(int argc, char **argv) {
  options(argc, argv);
  more_files();
  all = calloc(count, sizeof *all);
  again = calloc(count, sizeof *again);
  due = calloc(count, sizeof *due);
  server = calloc(count, sizeof *server);
  for (int i = 0; i < count; i++) server[i] = i % port_count;
  ep = epoll_create1(0);
  fcntl(0, F_SETFL, O_NONBLOCK);
  watch(ep, 0, EPOLLIN, UINT64_MAX, EPOLL_CTL_ADD);
  static struct epoll_event ready_events[2048];
  int told = 0;
  double deadline = 0, retry_at = 0;
  began = now_s();
  began_ns = wall_ns();
  for (;;) {
    while (started < count && pending < in_flight) begin(started++);
    if (again_count && now_s() > retry_at)
      for (retry_at = now_s() + .1; again_count && pending < in_flight;) begin(again[--again_count]);
    if (returns) keep_times();
    int n = epoll_wait(ep, ready_events, 2048, returns ? 5 : again_count || deadline ? 20 : 1000);
    for (int i = 0; i < n; i++) {
      if (ready_events[i].data.u64 != UINT64_MAX) ready(ready_events[i].data.u64);
      else if (!listen_to(&deadline)) return 0;
    }
    if (!told && started == count && !pending && !again_count) {
      told = 1;
      printf("{\"open\":%d,\"open_s\":%.4f,\"refused\":%lu,\"failed\":%lu,\"cpu_s\":%.4f}\n", opened, now_s() - began,
             refused, failed, cpu_s());
      fflush(stdout);
    }
    int done = awaits_absent ? !absent : reached == count;
    if (deadline && (done || now_s() > deadline)) deadline = 0, awaited = UINT32_MAX, report();
  }
}
