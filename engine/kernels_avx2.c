#include "engine/kernels_tables.h"

#ifdef __AVX2__
#define KERNELS_LANES 8
#define KERNELS_TABLE kernels_avx2
#define KERNELS_NAME  "avx2"
#include "engine/kernels_lanes.h"
#endif
