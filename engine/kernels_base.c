#include "engine/kernels_tables.h"

/* Four lanes: what every 64-bit x86 and Arm processor has. */
#define KERNELS_LANES 4
#define KERNELS_TABLE kernels_base
#define KERNELS_NAME  "base"
#include "engine/kernels_lanes.h"
