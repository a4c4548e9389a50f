-- Shared by all scripts. The arguments after `--` of wrk are: client id, client secret, number of threads, then those of the script.
-- A thread knows its `number`, from 0 on: with t threads, thread n takes every t-th item from the n-th on.
local made = 0

function setup(thread)
  thread:set("number", made)
  local second = os.getenv("BENCH_SECOND_ADDRESS")
  if second and made % 2 == 1 then
    local host, port = second:match("^(.*):(%d+)$")
    thread.addr = wrk.lookup(host, port)[1]
  end
  made = made + 1
end

-- x * y modulo 2^32 without leaving the 53 bits that a number holds exactly.
local function product(x, y)
  local high = math.floor(x / 65536)
  local low = x % 65536
  return ((high * y) % 65536 * 65536 + low * y) % 4294967296
end

local function xorshift(x, bits)
  return bit.bxor(bit.tobit(x), bit.rshift(bit.tobit(x), bits)) % 4294967296
end

-- Turns a counter into eight digits that look random, a different one for each of the 2^32 counters: every step can be undone.
function mixed(counter)
  local x = xorshift(counter, 16)
  x = xorshift(product(x, 2654435769), 15)
  x = xorshift(product(x, 2246822519), 16)
  return bit.tohex(bit.tobit(x))
end

function user(counter)
  return "user-" .. mixed(counter)
end

function headers(client_id, client_secret)
  return " HTTP/1.1\r\nHost: " .. wrk.host .. "\r\nX-Goodpon-Client-Id: " .. client_id
    .. "\r\nX-Goodpon-Client-Secret: " .. client_secret .. "\r\n"
end

-- One line of figures that the caller reads: microseconds and counts.
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    "\nFIGURES {\"requests\":%d,\"duration_us\":%d,\"refused\":%d,\"broken\":%d,\"p50_us\":%d,\"p99_us\":%d}\n",
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50), latency:percentile(99)))
end
