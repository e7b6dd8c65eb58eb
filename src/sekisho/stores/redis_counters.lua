-- Limits and budgets of one attempt in one atomic step, by this server's own clock. Must change nothing when it refuses.
--
-- ARGV[1] says what is done:
--   admit    debit every meter and reserve in every budget, or nothing
--   hold     put a reservation back that was granted before this server lost its memory; checks nothing
--   end      give back what is held and count what was used
--   expire   end the reservations whose workers have not been heard of in time
--   build    forget every budget and lease, because they are not to be trusted, and say so in the epoch
--   adopt    let budgets that are new in the configuration begin with sums of rows, once
--   restore  write sums of rows into the budgets, and begin a new epoch
--   late     add what rows hold of the time before the epoch and came to the tables after it had begun
--   died     of calls whose rows say that they died with their gateway, tell which are counted by a reservation and so
--            not by the row; one that is still held ends
--   say      note that budgets hold now
-- KEYS: 1 epoch, 2 leases (sorted by expiry, ms), 3 ids that were dispatched, 4 this lease or the prefix of all, then
-- a meter and a set of running ids for each limit, then one hash for each budget.
-- ARGV of admit and hold: 2 id, 3 lease ms, 4 tokens, 5 reserve, 6 most beyond it, 7 epoch, 8 meters, 9 carried meters,
-- 10 budgets; then five numbers a meter, two a carried meter, three a budget. A lease keeps its KEYS and ARGV.
-- Times in microseconds. Money passes as text, so that sums are exact to 64 bits; comparisons are exact to 2^53.

local FIRST_KEY, FIRST_ARG = 5, 11
local TOMBSTONE_S = 86400
-- of one call: a reservation is known by the id of its call, `#` and the number of the attempt
local MOST_ATTEMPTS = 32
-- how long it is remembered that a budget held: longer than any period
local REMEMBERED_MS = 40 * 86400000
-- HINCRBY refuses what is beyond 64 bits, and would leave behind what was done before it
local MOST_SUM = 9e18

local clock = redis.call('TIME')
local now = tonumber(clock[1]) * 1000000 + tonumber(clock[2])

local function meter(key)
  local found = redis.call('GET', key)
  if not found then return 0, 0 end
  local q, t = string.match(found, '^(%S+) (%S+)$')
  return tonumber(q), tonumber(t)
end

local function keep(key, q, t)
  local ttl = math.ceil((math.max(q, t) - now) / 1000) + 1000
  redis.call('SET', key, string.format('%.3f %.3f', q, t), 'PX', math.max(ttl, 1))
end

local function add(key, field, amount, sign)
  if tonumber(amount) == 0 then return tonumber(redis.call('HGET', key, field) or '0') end
  return redis.call('HINCRBY', key, field, sign .. amount)
end

-- nothing but whole numbers without a sign may come to HINCRBY
local function difference(a, b)
  local d = tonumber(a) - tonumber(b)
  return string.format('%.0f', math.abs(d)), d < 0 and '-' or ''
end

local function hold_budgets(keys, args, k, at, budgets)
  for i = 0, budgets - 1 do
    add(keys[k + i], 'reserved', args[5], '')
    add(keys[k + i], 'beyond', args[6], '')
    redis.call('EXPIREAT', keys[k + i], args[at + 3 * i + 2])
  end
end

local function hold_lease()
  redis.call('SET', KEYS[4], cmsgpack.pack({KEYS, ARGV}))
  redis.call('ZADD', KEYS[2], math.floor(now / 1000) + tonumber(ARGV[3]), ARGV[2])
end

-- that a reservation has ended which may be told of again: by who put it back, and did not hear that it was taken
local function mark_ended()
  return redis.call('SET', KEYS[4] .. ':charged', '1', 'NX', 'EX', TOMBSTONE_S)
end

local function hold()
  -- `:row`: its row was counted in its stead
  local call = string.match(KEYS[4], '^(.*)#%d+$') or KEYS[4]
  if redis.call('EXISTS', KEYS[4], KEYS[4] .. ':charged', call .. ':row') > 0 then return {0} end
  local meters, carried, budgets = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
  local k, at = FIRST_KEY, FIRST_ARG
  for i = 1, meters + carried do
    local limited = i <= meters and tonumber(ARGV[at + 4]) >= 0 or i > meters and ARGV[at + 1] == '1'
    if limited then redis.call('SADD', KEYS[k + 1], ARGV[2]) end
    k, at = k + 2, at + (i <= meters and 5 or 2)
  end
  hold_budgets(KEYS, ARGV, k, at, budgets)
  hold_lease()
  return {1}
end

local function admit()
  local meters, carried, budgets = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
  local tokens, reserve = tonumber(ARGV[4]), tonumber(ARGV[5])
  local epoch = redis.call('GET', KEYS[1]) or ''
  local reply = {1, string.format('%.0f', now), epoch}
  if budgets > 0 and (epoch == '' or epoch ~= ARGV[7]) then
    reply[1] = -1
    return reply
  end
  local k, at = FIRST_KEY, FIRST_ARG
  local qs, ts = {}, {}
  for i = 1, meters do
    local q, t = meter(KEYS[k])
    local running = 0
    local most = tonumber(ARGV[at + 4])
    if most >= 0 then
      running = redis.call('SCARD', KEYS[k + 1])
      if running >= most then reply[1] = 0 end
    end
    local room = now + tonumber(ARGV[at + 3])
    if q > now + tonumber(ARGV[at + 1]) or (t > now and t + tokens * tonumber(ARGV[at + 2]) > room) then
      reply[1] = 0
    end
    qs[i], ts[i] = math.max(q, now), math.max(t, now)
    reply[#reply + 1] = qs[i] - now
    reply[#reply + 1] = ts[i] - now
    reply[#reply + 1] = running
    k, at = k + 2, at + 5
  end
  local k_carried, at_carried = k, at
  k, at = k + 2 * carried, at + 2 * carried
  for i = 0, budgets - 1 do
    local found = redis.call('HMGET', KEYS[k + i], 'spent', 'reserved', 'beyond')
    local spent, reserved = found[1] or '0', found[2] or '0'
    if tonumber(reserved) + reserve > MOST_SUM or tonumber(found[3] or '0') + tonumber(ARGV[6]) > MOST_SUM then
      return redis.error_reply('ERR more than a sum of money can hold')
    end
    if ARGV[at + 3 * i + 1] == '1' and tonumber(spent) + tonumber(reserved) + reserve > tonumber(ARGV[at + 3 * i]) then
      reply[1] = 0
    end
    reply[#reply + 1] = spent
    reply[#reply + 1] = reserved
  end
  if reply[1] == 0 then return reply end

  hold_budgets(KEYS, ARGV, k, at, budgets)
  k, at = FIRST_KEY, FIRST_ARG
  for i = 1, meters do
    keep(KEYS[k], qs[i] + tonumber(ARGV[at]), ts[i] + tokens * tonumber(ARGV[at + 2]))
    if tonumber(ARGV[at + 4]) >= 0 then redis.call('SADD', KEYS[k + 1], ARGV[2]) end
    k, at = k + 2, at + 5
  end
  k, at = k_carried, at_carried
  for _ = 1, carried do
    local q, t = meter(KEYS[k])
    t = math.max(t, now)
    keep(KEYS[k], q, t + tokens * tonumber(ARGV[at]))
    if ARGV[at + 1] == '1' then redis.call('SADD', KEYS[k + 1], ARGV[2]) end
    reply[#reply + 1] = math.max(q, now) - now
    reply[#reply + 1] = t - now
    k, at = k + 2, at + 2
  end
  hold_lease()
  return reply
end

-- ends what a lease holds; the sums that its budgets have then
local function finish(id, keys, args, tokens, cost)
  local meters, carried, budgets = tonumber(args[8]), tonumber(args[9]), tonumber(args[10])
  local more = tokens - tonumber(args[4])
  local k, at = FIRST_KEY, FIRST_ARG
  for i = 1, meters + carried do
    local interval = tonumber(args[i <= meters and at + 2 or at])
    if more ~= 0 and interval > 0 then
      local q, t = meter(keys[k])
      if more > 0 then t = math.max(t, now) end
      keep(keys[k], q, t + more * interval)
    end
    local limited = i <= meters and tonumber(args[at + 4]) >= 0 or i > meters and args[at + 1] == '1'
    if limited then redis.call('SREM', keys[k + 1], id) end
    k, at = k + 2, at + (i <= meters and 5 or 2)
  end
  local sums = {1}
  for i = 0, budgets - 1 do
    add(keys[k + i], 'reserved', args[5], '-')
    add(keys[k + i], 'beyond', args[6], '-')
    sums[#sums + 1] = add(keys[k + i], 'spent', cost, '')
  end
  redis.call('ZREM', keys[2], id)
  redis.call('SREM', keys[3], id)
  return sums
end

-- ARGV of end: 2 id, 3 tokens, 4 cost, 5 epoch in which it was granted, 6 when it ended (ms), 7 budgets
local function finish_one()
  local found = redis.call('GET', KEYS[4])
  local budgets = tonumber(ARGV[7])
  if found and string.sub(found, 1, 1) ~= 'E' then
    redis.call('DEL', KEYS[4])
    local held = cmsgpack.unpack(found)
    if held[2][1] == 'hold' then mark_ended() end
    return finish(ARGV[2], held[1], held[2], tonumber(ARGV[3]), ARGV[4])
  end
  local charged = '0'
  if found then
    -- it had expired and was charged as estimated: correct that
    charged = string.sub(found, 2)
    redis.call('DEL', KEYS[4])
    mark_ended()
  else
    -- ended before, unless this server has lost its memory since: then it is charged, if the rows from which the
    -- budgets were rebuilt cannot hold it yet
    local epoch = redis.call('GET', KEYS[1])
    -- nobody can say yet: to be told again
    if not epoch then return {-1} end
    local since = tonumber(string.match(epoch, '@(%d+)$') or '0')
    if epoch == ARGV[5] or tonumber(ARGV[6]) < since then return {0} end
    if not mark_ended() then return {0} end
  end
  local amount, sign = difference(ARGV[4], charged)
  local sums = {1}
  for i = 0, budgets - 1 do
    sums[#sums + 1] = add(KEYS[FIRST_KEY + i], 'spent', amount, sign)
    redis.call('EXPIREAT', KEYS[FIRST_KEY + i], ARGV[8 + i])
  end
  return sums
end

-- ends a reservation whose worker is dead, if it is held still: charged as estimated where it was sent. What is left of
-- it: `E` and what was charged, or nothing
local function run_out(id)
  local key = KEYS[4] .. id
  local found = redis.call('GET', key)
  if not found or string.sub(found, 1, 1) == 'E' then return found end
  local held = cmsgpack.unpack(found)
  local sent = redis.call('SISMEMBER', KEYS[3], id) == 1
  local left = 'E' .. (sent and held[2][5] or '0')
  finish(id, held[1], held[2], sent and tonumber(held[2][4]) or 0, string.sub(left, 2))
  redis.call('SET', key, left, 'EX', TOMBSTONE_S)
  return left
end

-- ARGV of expire: 2 how many at most
local function expire()
  local ids = redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', math.floor(now / 1000), 'LIMIT', 0, ARGV[2])
  for _, id in ipairs(ids) do
    run_out(id)
    redis.call('ZREM', KEYS[2], id)
  end
  return ids
end

-- whether a reservation has counted a call since this server has its memory
local function counted_by_lease(call)
  local names = {}
  for n = 1, MOST_ATTEMPTS do
    names[2 * n - 1] = KEYS[4] .. call .. '#' .. n
    names[2 * n] = names[2 * n - 1] .. ':charged'
  end
  if redis.call('EXISTS', unpack(names)) == 0 then return false end
  local counted = false
  for n = 1, MOST_ATTEMPTS do
    local left = run_out(call .. '#' .. n)
    -- one that had not been sent, as far as anybody said, has charged nothing: then the row does
    if left and left ~= 'E0' or redis.call('EXISTS', names[2 * n]) == 1 then counted = true end
  end
  return counted
end

-- ARGV of died: 2 and on the ids of calls. Who is first, the row or the reservation, stays: those of rows are marked, so
-- that none is put back that comes late
local function died()
  local by_lease = {}
  for i = 2, #ARGV do
    local row = KEYS[4] .. ARGV[i] .. ':row'
    if redis.call('EXISTS', row) == 0 then
      if counted_by_lease(ARGV[i]) then
        by_lease[#by_lease + 1] = ARGV[i]
      else
        redis.call('SET', row, '1', 'EX', TOMBSTONE_S)
      end
    end
  end
  return by_lease
end

-- ARGV of build: 2 the epoch as it must be still, 3 the new one, 4 its life (ms), 5 a pattern of keys for each kind.
-- KEYS: 5 where it is noted which budgets hold: they do as far as they are rebuilt
local function build()
  if (redis.call('GET', KEYS[1]) or '') ~= ARGV[2] then return 0 end
  for i = 5, #ARGV do
    for _, key in ipairs(redis.call('KEYS', ARGV[i])) do redis.call('DEL', key) end
  end
  redis.call('DEL', KEYS[2], KEYS[3], KEYS[5])
  redis.call('SET', KEYS[1], ARGV[3], 'PX', ARGV[4])
  return 1
end

-- since when a budget is counted, ms: its own word, or the end of its epoch's
local function ms_of(since)
  return tonumber(since) or tonumber(string.match(since, '@(%d+)$') or '0')
end

-- ARGV of adopt: 2 as of when (ms), then for each budget since when it did not hold (ms; 0: unknown), then for each a sum
-- and an expiry (s)
local function adopt()
  -- what is rebuilt now will have these sums, or be adopted afterwards
  local epoch = redis.call('GET', KEYS[1]) or 'building:'
  if string.sub(epoch, 1, 9) == 'building:' then return -1 end
  local budgets = #KEYS - FIRST_KEY + 1
  for i = 0, budgets - 1 do
    local key, at = KEYS[FIRST_KEY + i], 3 + budgets + 2 * i
    if redis.call('HSETNX', key, 'since', ARGV[2]) == 1 then
      -- what calls have counted on it by themselves, where no rows were there to begin with, is in the rows by now
      if tonumber(redis.call('HGET', key, 'spent') or '0') < tonumber(ARGV[at]) then
        redis.call('HSET', key, 'spent', ARGV[at])
      end
    elseif ms_of(redis.call('HGET', key, 'since')) < tonumber(ARGV[3 + i]) then
      -- nobody has counted on it meanwhile: what is reserved by calls from before stays
      redis.call('HSET', key, 'since', ARGV[2], 'spent', ARGV[at])
    end
    redis.call('EXPIREAT', key, ARGV[at + 1])
  end
  return budgets
end

-- ARGV of restore: 2 the epoch as it must be still, 3 the new one, then a sum and an expiry (s) for each budget
local function restore()
  if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
  for i = FIRST_KEY, #KEYS do
    local at = 4 + 2 * (i - FIRST_KEY)
    add(KEYS[i], 'spent', ARGV[at], '')
    redis.call('HSETNX', KEYS[i], 'since', ARGV[3])
    redis.call('HSET', KEYS[i], 'rows', ARGV[at])
    redis.call('EXPIREAT', KEYS[i], ARGV[at + 1])
  end
  redis.call('SET', KEYS[1], ARGV[3])
  return 1
end

-- ARGV of late: 2 the epoch, then the sum and an expiry (s) for each budget, of the same time as in restore. Told twice
-- it counts once.
local function late()
  if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
  for i = FIRST_KEY, #KEYS do
    local key, at = KEYS[i], 3 + 2 * (i - FIRST_KEY)
    local amount, sign = difference(ARGV[at], redis.call('HGET', key, 'rows') or '0')
    -- one that was adopted meanwhile has the rows of a later time
    if sign == '' and (redis.call('HGET', key, 'since') or ARGV[2]) == ARGV[2] then
      add(key, 'spent', amount, '')
      redis.call('HSET', key, 'rows', ARGV[at])
      redis.call('EXPIREAT', key, ARGV[at + 1])
    end
  end
  return 1
end

-- ARGV of say: 2 the epoch of who says it, then the budgets. KEYS: 5 where it is noted. In another epoch nobody knows yet
-- whether what is counted on them was rebuilt.
local function say()
  if redis.call('GET', KEYS[1]) ~= ARGV[2] then return 0 end
  local ms = math.floor(now / 1000)
  for i = 3, #ARGV do redis.call('ZADD', KEYS[FIRST_KEY], ms, ARGV[i]) end
  redis.call('ZREMRANGEBYSCORE', KEYS[FIRST_KEY], '-inf', ms - REMEMBERED_MS)
  return 1
end

local ways = {
  admit = admit, hold = hold, ['end'] = finish_one, expire = expire,
  adopt = adopt, build = build, restore = restore, late = late, died = died, say = say,
}
return ways[ARGV[1]]()
