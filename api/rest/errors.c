#include "api/rest/errors.h"

static struct errors_answer errors_answer_body(enum status status)
{
    switch (status) {
    case STATUS_FORMAT:
        return (struct errors_answer){400, "malformed_body"};
    case STATUS_UNSUPPORTED:
        return (struct errors_answer){415, "unsupported_body"};
    case STATUS_INVALID:
        return (struct errors_answer){422, "invalid_field"};
    case STATUS_LIMIT:
        return (struct errors_answer){422, "over_limit"};
    case STATUS_NOT_FOUND:
        return (struct errors_answer){404, "not_found"};
    default:
        return (struct errors_answer){500, "internal"};
    }
}

static struct errors_answer errors_answer_image(enum status status)
{
    switch (status) {
    case STATUS_FORMAT:
        return (struct errors_answer){422, "image_undecodable"};
    case STATUS_UNSUPPORTED:
        return (struct errors_answer){415, "image_unsupported"};
    case STATUS_LIMIT:
        return (struct errors_answer){413, "image_too_large"};
    default:
        return (struct errors_answer){500, "internal"};
    }
}

struct errors_answer errors_answer(enum errors_place place, enum status status)
{
    if (place == ERRORS_BODY)
        return errors_answer_body(status);
    if (place == ERRORS_IMAGE)
        return errors_answer_image(status);
    if (place == ERRORS_ANSWER)
        return status == STATUS_LIMIT ? (struct errors_answer){422, "over_limit"}
                                      : (struct errors_answer){500, "internal"};
    if (status == STATUS_INVALID || status == STATUS_LIMIT || status == STATUS_FORMAT)
        return (struct errors_answer){422, "invalid_labels"};
    return (struct errors_answer){500, "internal"};
}
