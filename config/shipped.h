/* Where the model lies that ships with the program. */
#ifndef CONFIG_SHIPPED_H
#define CONFIG_SHIPPED_H

/* From the root of the tree, or in the folder that `make install` put it in. */
extern const char shipped_model[];

#endif
