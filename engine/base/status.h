/*
 * The error vocabulary of the whole program.
 *
 * A function that can fail returns enum status (0 is success) and takes, as its last argument, a
 * struct fail to describe the failure. A failed call leaves nothing behind and its outputs
 * untouched. `why` may be NULL where the caller needs only the code.
 */
#ifndef ENGINE_BASE_STATUS_H
#define ENGINE_BASE_STATUS_H

enum status {
    STATUS_OK = 0,
    STATUS_NO_MEMORY,
    STATUS_IO,          /* the operating system refused: open, read, bind, ... */
    STATUS_NOT_FOUND,   /* a named thing does not exist */
    STATUS_INVALID,     /* an argument or a field has a value that is not allowed */
    STATUS_FORMAT,      /* bytes from outside are malformed, truncated or inconsistent */
    STATUS_UNSUPPORTED, /* well formed, but not something this program handles */
    STATUS_LIMIT,       /* a configured or documented limit was exceeded */
    STATUS_CANCELLED,
    STATUS_INTERNAL
};

struct fail {
    enum status code;
    char message[512]; /* one sentence, no full stop at its end; valid UTF-8, printable */
};

/* Fills *why (if not NULL) and returns code, so that a failure is one statement. */
enum status status_fail(struct fail *why, enum status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Prefixes the message of an existing failure with "context: ". Returns its code. */
enum status status_context(struct fail *why, enum status code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
