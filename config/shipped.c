#include "config/shipped.h"

#ifndef SHIPPED_MODEL
#define SHIPPED_MODEL "engine/models/emoji-clip"
#endif

const char shipped_model[] = SHIPPED_MODEL;
