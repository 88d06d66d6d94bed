-- Compares and replaces in one step, so that of two who come with the same token only one is served.
-- KEYS: the session. ARGV: the given token's hash, the next one's, seconds to live.
-- The next token is made for one request alone: when it is held already, this is that request sent again because its answer
-- was lost, not a token used twice.
local held = redis.call('HMGET', KEYS[1], 'token', 'user')
if not held[1] then return {'ended'} end
if held[1] == ARGV[2] then return {'ok', held[2]} end
if held[1] ~= ARGV[1] then
  redis.call('DEL', KEYS[1])
  return {'reused', held[2]}
end
redis.call('HSET', KEYS[1], 'token', ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[3])
return {'ok', held[2]}
