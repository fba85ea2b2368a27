/* The tables that kernels.c chooses from, one per instruction set. Private to kernels*.c. */
#ifndef ENGINE_KERNELS_TABLES_H
#define ENGINE_KERNELS_TABLES_H

#include "engine/kernels.h"

extern const struct kernels kernels_base;
extern const struct kernels kernels_avx2;   /* x86 only */
extern const struct kernels kernels_avx512; /* x86 only */

#endif
