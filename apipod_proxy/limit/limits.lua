-- The arithmetic of buckets.py on the keys of one Redis. All keys of a call share one hash tag, so one node holds them.
--
--   admit   now, lease ms, lease id, keys of the caller's half, tokens; per key: kind, limit, capacity, unit
--   settle  now; KEYS[1] marks the batch; per key: kind, then what to put back (see below)
--   renew   now, lease ms; per key: n, n lease ids
--   beat    now, lifetime ms, process; KEYS: the processes, the epoch
--   seed    now; per key: kind, used, a moment in the window
--
-- Kinds: rb tb buckets, rd td days, rm tm months, of requests and of tokens; g gauges.
-- A bucket is "level at", a window "used start", a gauge a sorted set of lease ids by the time they expire.

local DAY = 86400000

local now = tonumber(ARGV[2])
local real = now == nil
if real then
  local time = redis.call('TIME')
  now = time[1] * 1000 + math.floor(time[2] / 1000)
end

local function pair(key)
  local stored = redis.call('GET', key)
  if stored then
    local first, second = string.match(stored, '^(%S+) (%S+)$')
    return tonumber(first), tonumber(second)
  end
end

-- A key goes when it says no more than a missing one would. Where the clock is not Redis's own, it cannot say when that is.
local function store(key, first, second, rests)
  local ttl = real and math.ceil(rests) + 60000 or 3600000
  redis.call('SET', key, string.format('%.0f %.0f', first, second), 'PX', string.format('%.0f', ttl))
end

local function refilled(key, rate, cap)
  local level, at = pair(key)
  if not level then
    return cap
  end
  if now > at then
    level = level + (now - at) * rate
  end
  return math.min(level, cap)
end

-- Day numbers and dates of the Gregorian calendar, counted in years that begin in March.
local function month_of(days)
  days = days + 719468
  local era = math.floor(days / 146097)
  local doe = days - era * 146097
  local yoe = math.floor((doe - math.floor(doe / 1460) + math.floor(doe / 36524) - math.floor(doe / 146096)) / 365)
  local doy = doe - (365 * yoe + math.floor(yoe / 4) - math.floor(yoe / 100))
  local mp = math.floor((5 * doy + 2) / 153)
  local month = mp < 10 and mp + 3 or mp - 9
  return yoe + era * 400 + (month <= 2 and 1 or 0), month
end

local function first_of(year, month)
  if month <= 2 then
    year = year - 1
  end
  local era = math.floor(year / 400)
  local yoe = year - era * 400
  local doy = math.floor((153 * (month > 2 and month - 3 or month + 9) + 2) / 5)
  return era * 146097 + yoe * 365 + math.floor(yoe / 4) - math.floor(yoe / 100) + doy - 719468
end

local function bounds(kind, at)
  local days = math.floor(at / DAY)
  if kind == 'rd' or kind == 'td' then
    return days * DAY, (days + 1) * DAY
  end
  local year, month = month_of(days)
  local next_year = month == 12 and year + 1 or year
  return first_of(year, month) * DAY, first_of(next_year, month % 12 + 1) * DAY
end

-- used, start, end of the window that counts now
local function window(key, kind)
  local used, start = pair(key)
  if used then
    local _, stop = bounds(kind, start)
    if now < stop and now >= start - DAY then
      return used, start, stop
    end
  end
  return 0, bounds(kind, now)
end

-- Take keys first..last whole or not at all: index of the key to wait longest for (0: taken) and the milliseconds to wait.
local function take(first, last, lease, id, tokens, left)
  local plans, worst, longest = {}, 0, 0
  for i = first, last do
    local base = 7 + (i - 1) * 4
    local key, kind = KEYS[i], ARGV[base]
    local limit, capacity, unit = tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2]), tonumber(ARGV[base + 3])
    local amount = string.sub(kind, 1, 1) == 't' and math.min(tokens, capacity) or 1
    local wait = 0
    if kind == 'rb' or kind == 'tb' then
      local cap = capacity * unit
      local level = refilled(key, limit, cap)
      left[i] = math.floor(level / unit)
      if level < amount * unit then
        wait = math.ceil((amount * unit - level) / limit)
      end
      plans[i] = { amount, unit, level, limit, cap }
    elseif kind == 'g' then
      redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
      local used = redis.call('ZCARD', key)
      left[i] = limit - used
      if used >= limit then
        wait = 1000
      end
      plans[i] = { amount }
    else
      local used, start, stop = window(key, kind)
      left[i] = limit - used
      if used + amount > limit then
        wait = stop - now
      end
      plans[i] = { amount, used, start, stop }
    end
    if wait > longest then
      worst, longest = i, wait
    end
  end
  if worst > 0 then
    return worst, longest
  end
  for i = first, last do
    local key, kind, plan = KEYS[i], ARGV[7 + (i - 1) * 4], plans[i]
    left[i] = left[i] - plan[1]
    if kind == 'rb' or kind == 'tb' then
      local level = plan[3] - plan[1] * plan[2]
      left[i] = math.floor(level / plan[2])
      store(key, level, now, (plan[5] - level) / plan[4])
    elseif kind == 'g' then
      redis.call('ZADD', key, now + lease, id)
      redis.call('PEXPIRE', key, real and lease or 3600000)
    else
      store(key, plan[2] + plan[1], plan[3], plan[4] - now)
    end
  end
  return 0, 0
end

local function admit()
  local lease, id, caller, tokens = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
  local left = {}
  local worst, wait = take(1, caller, lease, id, tokens, left)
  if worst == 0 then
    worst, wait = take(caller + 1, #KEYS, lease, id, tokens, left)
  end
  local reply = { worst, wait, now }
  for i = 1, #left do
    reply[3 + i] = left[i]
  end
  return reply
end

-- Per key, a bucket: limit, capacity, unit, difference; a window: start, difference; a gauge: n, n lease ids.
-- A positive difference was not used, a negative one was used beyond.
local function settle()
  -- A batch whose answer was lost is sent again; what it says must count once.
  if not redis.call('SET', KEYS[1], 1, 'NX', 'PX', 120000) then
    return 0
  end
  local cursor = 3
  for i = 2, #KEYS do
    local key, kind = KEYS[i], ARGV[cursor]
    if kind == 'rb' or kind == 'tb' then
      local limit, capacity, unit = tonumber(ARGV[cursor + 1]), tonumber(ARGV[cursor + 2]), tonumber(ARGV[cursor + 3])
      local cap = capacity * unit
      local level = math.min(refilled(key, limit, cap) + tonumber(ARGV[cursor + 4]) * unit, cap)
      store(key, level, now, (cap - level) / limit)
      cursor = cursor + 5
    elseif kind == 'g' then
      local count = tonumber(ARGV[cursor + 1])
      if count > 0 then
        redis.call('ZREM', key, unpack(ARGV, cursor + 2, cursor + 1 + count))
      end
      cursor = cursor + 2 + count
    else
      local used, start, stop = window(key, kind)
      if start == tonumber(ARGV[cursor + 1]) then
        store(key, math.max(0, used - tonumber(ARGV[cursor + 2])), start, stop - now)
      end
      cursor = cursor + 3
    end
  end
  return 1
end

local function renew()
  local lease, cursor = tonumber(ARGV[3]), 4
  for i = 1, #KEYS do
    local count = tonumber(ARGV[cursor])
    for j = cursor + 1, cursor + count do
      redis.call('ZADD', KEYS[i], now + lease, ARGV[j])
    end
    redis.call('PEXPIRE', KEYS[i], real and lease or 3600000)
    cursor = cursor + 1 + count
  end
  return 1
end

local function beat()
  local lifetime, process = tonumber(ARGV[3]), ARGV[4]
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
  redis.call('ZADD', KEYS[1], now + lifetime, process)
  return { redis.call('ZCARD', KEYS[1]), redis.call('GET', KEYS[2]) or '' }
end

local function seed()
  for i = 1, #KEYS do
    local base = 3 + (i - 1) * 3
    local kind, value, at = ARGV[base], tonumber(ARGV[base + 1]), tonumber(ARGV[base + 2])
    local used, start, stop = window(KEYS[i], kind)
    if bounds(kind, at) == start and value > used then
      store(KEYS[i], value, start, stop - now)
    end
  end
  return 1
end

local operations = { admit = admit, settle = settle, renew = renew, beat = beat, seed = seed }
return operations[ARGV[1]]()
