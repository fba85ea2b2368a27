#include "engine/kernels_tables.h"

#ifdef __AVX512F__
#define KERNELS_LANES 16
#define KERNELS_TABLE kernels_avx512
#define KERNELS_NAME  "avx512"
#include "engine/kernels_lanes.h"
#endif
