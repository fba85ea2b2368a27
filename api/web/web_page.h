/*
 * The two documents that are part of the program: the page for people at /, and the description of
 * all endpoints for programs at /openapi.json. Loop thread.
 */
#ifndef API_WEB_WEB_PAGE_H
#define API_WEB_WEB_PAGE_H

struct request;
struct service;

void web_page_handle_index(struct request *request, struct service *service);
void web_page_handle_openapi(struct request *request, struct service *service);

#endif
