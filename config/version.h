/* The version of the program, as --version and GET /version tell it. */
#ifndef CONFIG_VERSION_H
#define CONFIG_VERSION_H

#define VERSION_TEXT "0.1.0"

#endif
