#include "api/web/web_page.h"

#include <stddef.h>
#include <stdio.h>

#include "engine/base/digest.h"
#include "server/reply.h"
#include "server/request.h"

enum { WEB_PAGE_ETAG_DIGITS = 32 };

/* Paths are from the root of the tree, where the compiler runs. */
__asm__(".section .rodata\n"
        ".global web_page_index, web_page_index_end, web_page_openapi, web_page_openapi_end\n"
        "web_page_index:\n"
        ".incbin \"api/web/index.html\"\n"
        "web_page_index_end:\n"
        "web_page_openapi:\n"
        ".incbin \"api/openapi.json\"\n"
        "web_page_openapi_end:\n"
        ".previous\n");

extern const unsigned char web_page_index[], web_page_index_end[];
extern const unsigned char web_page_openapi[], web_page_openapi_end[];

struct web_page {
    struct reply_file file;
    const unsigned char *end; /* of its bytes */
    char etag[WEB_PAGE_ETAG_DIGITS + 3];
};

static struct web_page web_page_for_people = {
    .file.content_type = "text/html; charset=utf-8",
    .file.bytes = web_page_index,
    /* Nothing but the page itself runs in it, and it talks to nobody but this server. */
    .file.policy = "default-src 'none'; img-src 'self' blob: data:; style-src 'unsafe-inline'; "
                   "script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; "
                   "form-action 'none'; frame-ancestors 'none'",
    .end = web_page_index_end,
};

static struct web_page web_page_for_programs = {
    .file.content_type = "application/json",
    .file.bytes = web_page_openapi,
    .end = web_page_openapi_end,
};

static void web_page_reply(struct request *request, struct web_page *page)
{
    struct reply_file *file = &page->file;
    if (!file->etag) {
        struct digest digest;
        char text[DIGEST_TEXT_BYTES];
        file->size = (size_t)(page->end - (const unsigned char *)file->bytes);
        digest_init(&digest);
        digest_append(&digest, file->bytes, file->size);
        digest_write(&digest, text);
        snprintf(page->etag, sizeof page->etag, "\"%.*s\"", WEB_PAGE_ETAG_DIGITS, text);
        file->etag = page->etag;
    }
    request_reply_file(request, file);
}

void web_page_handle_index(struct request *request, struct service *service)
{
    (void)service;
    web_page_reply(request, &web_page_for_people);
}

void web_page_handle_openapi(struct request *request, struct service *service)
{
    (void)service;
    web_page_reply(request, &web_page_for_programs);
}
