-- Posts one picture again and again with wrk, and writes a line for each answer:
--
--     sent received status retry-after server-timing      (times in microseconds)
--
-- Settings by environment: PICTURE and LOG (files), TARGET (path and query), PAUSE_MS (from an
-- answer to the next request of a connection). For one thread of wrk (-t1). The time of sending
-- travels in X-Request-Id, which the server gives back.

local ffi = require("ffi")
ffi.cdef([[
struct wrk_log_time { long seconds, nanoseconds; };
int clock_gettime(int clock, struct wrk_log_time *time);
]])
local CLOCK_MONOTONIC = 1
local time = ffi.new("struct wrk_log_time")

local function now_us()
    ffi.C.clock_gettime(CLOCK_MONOTONIC, time)
    return tonumber(time.seconds) * 1e6 + math.floor(tonumber(time.nanoseconds) / 1e3)
end

local before, after, log
local pause_ms = tonumber(os.getenv("PAUSE_MS") or "0")

function init()
    local file = assert(io.open(os.getenv("PICTURE"), "rb"))
    local picture = file:read("*a")
    file:close()
    log = assert(io.open(os.getenv("LOG"), "w"))
    log:setvbuf("full", 65536)
    before = "POST " .. os.getenv("TARGET") .. " HTTP/1.1\r\nHost: bench\r\nContent-Type: image/jpeg\r\n"
        .. "Content-Length: " .. #picture .. "\r\nX-Request-Id: "
    after = "\r\n\r\n" .. picture
end

function request()
    return before .. string.format("%.0f", now_us()) .. after
end

function response(status, headers)
    log:write(string.format("%s %.0f %d %s %s\n", headers["X-Request-Id"], now_us(), status,
        headers["Retry-After"] or "0", headers["Server-Timing"] or ""))
end

if pause_ms > 0 then
    -- Spread evenly, so that connections which begin together do not stay together.
    function delay()
        return math.random(0, 2 * pause_ms)
    end
end
