#include "server/stall.h"

struct stall_report stall_judge(const uint64_t *signs_us, size_t count, uint64_t now_us,
                                uint64_t limit_us)
{
    struct stall_report report = {.verdict = STALL_NONE};
    for (size_t i = 0; i < count; i++) {
        uint64_t silent_us = signs_us[i] && signs_us[i] < now_us ? now_us - signs_us[i] : 0;
        if (silent_us <= report.silent_us)
            continue;
        report.worker = i;
        report.silent_us = silent_us;
    }
    if (report.silent_us >= limit_us)
        report.verdict = STALL_DEAD;
    else if (report.silent_us >= limit_us / 2)
        report.verdict = STALL_UNREADY;
    return report;
}
