/* A histogram of times: 32 buckets per power of two of microseconds, so that the error is within 3 %. */
#include <stdint.h>
#include <string.h>

enum { BUCKETS = 2048 };

typedef struct {
  uint32_t counts[BUCKETS];
  uint64_t samples, slowest_us;
} Histogram;

static inline void note_us(Histogram *h, uint64_t us) {
  int bucket = us;
  if (us >= 32) {
    int power = 63 - __builtin_clzll(us);
    bucket = (power - 4) * 32 + ((us >> (power - 5)) & 31);
  }
  h->counts[bucket]++, h->samples++;
  if (us > h->slowest_us) h->slowest_us = us;
}

static inline double percentile_ms(const Histogram *h, double share) {
  uint64_t wanted = h->samples * share, seen = 0;
  for (int i = 0; i < BUCKETS; i++)
    if ((seen += h->counts[i]) > wanted) return i < 32 ? i / 1000.0 : (32.5 + i % 32) * (1ull << (i / 32 - 1)) / 1000.0;
  return h->slowest_us / 1000.0;
}

static inline void forget(Histogram *h) { memset(h, 0, sizeof *h); }
