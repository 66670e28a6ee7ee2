#include "histogram.h"

static unsigned class_of(uint64_t ns)
{
    if (ns < 1u << CLASS_BITS)
        return (unsigned)ns;
    unsigned shift = 63u - (unsigned)__builtin_clzll(ns) - CLASS_BITS;
    return ((shift + 1) << CLASS_BITS) + (unsigned)((ns >> shift) - (1u << CLASS_BITS));
}

static double class_middle_ns(unsigned class)
{
    if (class < 1u << CLASS_BITS)
        return class;
    unsigned shift = (class >> CLASS_BITS) - 1;
    uint64_t low = (uint64_t)((class & ((1u << CLASS_BITS) - 1)) + (1u << CLASS_BITS)) << shift;
    return (double)low + (double)(1ull << shift) / 2;
}

void histogram_add(struct histogram *histogram, uint64_t ns)
{
    histogram->classes[class_of(ns)]++;
    histogram->count++;
    if (ns > histogram->longest_ns)
        histogram->longest_ns = ns;
}

double histogram_percentile_us(const struct histogram *histogram, double share)
{
    uint64_t wanted = (uint64_t)((double)histogram->count * share), seen = 0;
    for (unsigned class = 0; class < CLASSES; class++) {
        seen += histogram->classes[class];
        if (seen > wanted)
            return class_middle_ns(class) / 1e3;
    }
    return (double)histogram->longest_ns / 1e3;
}
