/* floor: the lowest cost of fan-out with one `send` per delivery. It has no broker and no protocol except the frame.
 *
 *   floor PORT
 *
 * A connection that sends "PUBLISH" provides events, one per line. Every other connection is a viewer and gets a fixed
 * 101 response. Each event becomes one frame and is sent to each viewer. If a viewer's socket is full, floor waits.
 */
#include "net.h"

enum { MOST = 65536, IN = 1 << 18 };
static int viewers[MOST], count, publisher = -1, ep;
static const char ACCEPT[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"; /* of RFC 6455's sample key */

static void leave(int fd) {
  for (int i = 0; i < count; i++)
    if (viewers[i] == fd) viewers[i] = viewers[--count];
  close(fd);
}

static void deliver(const char *event, size_t size) {
  static char frame[4 + IN];
  size_t head = 2;
  frame[0] = (char)0x81;
  if (size < 126) frame[1] = size;
  else frame[1] = 126, frame[2] = size >> 8, frame[3] = size, head = 4;
  memcpy(frame + head, event, size);
  for (int i = 0; i < count; i++)
    for (size_t done = 0; done < head + size;) {
      ssize_t wrote = send(viewers[i], frame + done, head + size - done, MSG_NOSIGNAL);
      if (wrote > 0) done += wrote;
      else if (errno != EAGAIN) break; /* the peer is gone: epoll reports it */
      else poll(&(struct pollfd){viewers[i], POLLOUT, 0}, 1, -1);
    }
}

static void take(int fd) {
  static char in[IN];
  static size_t have;
  if (fd != publisher) {
    char request[4096];
    ssize_t got = recv(fd, request, sizeof request, 0);
    if (got <= 0) leave(fd);
    else if (got >= 8 && !memcmp(request, "PUBLISH\n", 8)) {
      publisher = fd, have = got - 8;
      memcpy(in, request + 8, have);
    } else if (got > 3 && !memcmp(request, "GET ", 4) && count < MOST) { /* complete: the load generator sends one segment */
      if (send(fd, ACCEPT, sizeof ACCEPT - 1, MSG_NOSIGNAL) > 0) viewers[count++] = fd;
    }
    if (fd != publisher) return;
  } else {
    ssize_t got = recv(fd, in + have, IN - have, 0);
    if (got <= 0) {
      publisher = -1;
      close(fd);
      return;
    }
    have += got;
  }
  char *p = in, *newline;
  for (; (newline = memchr(p, '\n', in + have - p)); p = newline + 1) deliver(p, newline - p);
  have -= p - in;
  memmove(in, p, have);
}

int main(int argc, char **argv) {
  if (argc != 2) return 2;
  more_files();
  int one = 1, listening = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  setsockopt(listening, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(0x7f000001u)};
  if (bind(listening, (void *)&at, sizeof at) || listen(listening, 4096)) die("listen");
  ep = epoll_create1(0);
  watch(ep, listening, EPOLLIN, listening, EPOLL_CTL_ADD);
  static struct epoll_event events[1024];
  for (;;) {
    int n = epoll_wait(ep, events, 1024, -1);
    for (int i = 0; i < n; i++) {
      int fd = events[i].data.u64;
      if (fd != listening) take(fd);
      else
        for (int got; (got = accept4(listening, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
          setsockopt(got, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
          watch(ep, got, EPOLLIN, got, EPOLL_CTL_ADD);
        }
    }
  }
}
