/* Latencies counted in classes, each at most 0.4 % wide, and their percentiles. */
#ifndef HISTOGRAM_H
#define HISTOGRAM_H

#include <stdint.h>

/* 256 classes for each power of two. */
enum { CLASS_BITS = 8, CLASSES = (64 - CLASS_BITS + 1) << CLASS_BITS };

struct histogram {
    uint64_t classes[CLASSES], count, longest_ns;
};

void histogram_add(struct histogram *histogram, uint64_t ns);
/* The latency that `share` (0 to 1) of all counted ones do not exceed, in µs; 0 when nothing was counted. */
double histogram_percentile_us(const struct histogram *histogram, double share);

#endif
